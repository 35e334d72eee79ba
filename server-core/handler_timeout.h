// handler_timeout: a handler that is not done in time is answered for, with 503 (Go's
// TimeoutHandler).
//
//   TimeoutPool pool(registry, sink, clock);
//   router.handle("GET /report", handler_timeout(pool, 2s)(get_report));
//
// The handler runs on a thread of the pool, with an owned copy of the request's head, and writes
// into a buffer. What happens at its end and at the deadline:
//
//   returns in time     the buffer becomes the response
//   throws in time      the exception goes on, as if there were no timeout
//   deadline            503 with `message` and nothing of what the handler had written; its stop
//                       token is stopped; from now on its reads and writes fail with
//                       deadline_exceeded; the connection goes on with its next request
//
// A handler that goes on after its deadline is still a task, with the timeout on it: the watchdog
// reports it as leaked past its timeout (leakwatch/watchdog.h). It may use its Request and
// ResponseWriter until it returns.
//
// What is different inside, as in Go: flush(), inform() and hijack() are unsupported, because what
// is out cannot be taken back; trailers are buffered with the rest. A
// response longer than TimeoutOptions::response_bytes_max fails with resource_exhausted; the body
// is read by the connection's thread on the handler's behalf, not beyond the deadline. The task
// that the router began waits, as the parent of the handler's own. A timeout longer than the
// server's write_timeout never answers: the connection is cut before.
#pragma once

#include <cstddef>
#include <string>

#include "base/clock.h"
#include "server-core/middleware.h"
#include "server-core/timeout_pool.h"

namespace vigil::http {

struct TimeoutOptions {
  // From the moment that the middleware is entered. More than zero.
  Duration timeout = std::chrono::seconds(1);
  // The 503's text.
  std::string message = "the handler did not finish in time";
  // The longest response that is buffered.
  std::size_t response_bytes_max = 16 * 1024 * 1024;
};

// `pool` must outlive the handler. If it has no free thread, the answer is 503 with Retry-After and
// the handler does not run. Cost: two thread switches and a copy of head and response.
Middleware handler_timeout(TimeoutPool& pool, TimeoutOptions options);
Middleware handler_timeout(TimeoutPool& pool, Duration timeout);

}  // namespace vigil::http
