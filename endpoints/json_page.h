// A page of JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "endpoints/page.h"

namespace vigil::endpoints {

// Whether the request says format=json.
bool wants_json(const PageRequest& request);

// `document`, indented. Labels and file names are the program's own bytes: what is not UTF-8 is
// replaced, never an exception.
Page json_page(const nlohmann::ordered_json& document);

}  // namespace vigil::endpoints
