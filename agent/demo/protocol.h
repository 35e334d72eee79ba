// Routes that show what HTTP can do beyond one answer to one request. Handlers; no shared state.
#pragma once

#include "server-core/handler.h"

namespace demo {

// A tunnel over a hijacked connection: 101, then every line comes back, until "bye", the end, a
// minute of silence, or the server's shutdown, which is told with a line. 426 without
// "Upgrade: line-echo".
void line_tunnel(vigil::http::ResponseWriter& response, vigil::http::Request& request);

// 103 with a Link field, and the page ?ms=N later (100 by default, 10,000 at most).
void early_hints(vigil::http::ResponseWriter& response, vigil::http::Request& request);

// ?n=N lines (10 by default), streamed, and the FNV-1a sum of their bytes in the trailer.
void trailers(vigil::http::ResponseWriter& response, vigil::http::Request& request);

// The fields of a form, decoded, one "name = value" a line: those of the query, then those of the
// body.
void form(vigil::http::ResponseWriter& response, vigil::http::Request& request);

}  // namespace demo
