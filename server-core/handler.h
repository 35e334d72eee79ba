// Handler: an ordinary function that answers one request.
//
//   void hello(ResponseWriter& response, Request&) { (void)response.write("hello, world\n"); }
//
// It may block (on a database, a mutex, a slow client): other connections do not wait for it. It
// may throw: the client gets 500, or a cut connection if the head is out, and nothing of the
// exception's text. Several threads run one handler at the same time, so it must be thread-safe.
// Middleware is a function that takes a Handler and returns one (middleware.h).
#pragma once

#include <functional>

#include "server-core/request.h"
#include "server-core/response_writer.h"

namespace vigil::http {

using Handler = std::function<void(ResponseWriter&, Request&)>;

// Thrown by a handler or middleware to end its response without a log record: the client gets 500,
// or a cut connection if the head is out. (Go's http.ErrAbortHandler.)
struct AbortHandler {};

}  // namespace vigil::http
