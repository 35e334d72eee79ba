// Middleware: a function that takes a Handler and returns one that does something around it.
//
//   Handler root = chain(router, {with_request_id(sink), access_log(sink, clock), recoverer({…})});
//
// The first of the list is the outermost: it sees a request first and its end last. The usual order
// is that of the example: the id before all that log it, the log around what may fail.
// Middleware goes around one route, a Router, or a whole server, as it is put.
//
// What there is: request_log.h (request id, access log, a logger for handlers), recoverer.h,
// handler_timeout.h, in_flight_limit.h, body_limit.h, mount.h (strip_prefix).
#pragma once

#include <functional>
#include <vector>

#include "server-core/handler.h"

namespace vigil::http {

using Middleware = std::function<Handler(Handler)>;

// `handler` with every one of `around` around it, the first outermost.
Handler chain(Handler handler, const std::vector<Middleware>& around);

}  // namespace vigil::http
