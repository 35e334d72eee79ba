// The head that the pages for people share: title, colours of the browser's scheme, tables.
#pragma once

#include <string>
#include <string_view>

namespace vigil::endpoints {

// From <!DOCTYPE> to the heading. `refresh_seconds`: it loads itself again so often, but not while
// something in it is unfolded, which somebody reads; 0: it stays as it is.
std::string html_head(std::string_view title, int refresh_seconds);

}  // namespace vigil::endpoints
