#include "server-core/handler_timeout.h"

#include <cassert>
#include <memory>

#include "server-core/timed_call.h"

namespace vigil::http {
namespace {

void serve(TimeoutPool& pool, const TimeoutOptions& options,
           const std::shared_ptr<const Handler>& handler, ResponseWriter& response,
           Request& request) {
  const MonotonicTime started = pool.clock().now();
  const auto call =
      std::make_shared<TimedCall>(pool, request, leakwatch::Task::current(), started,
                                  started + options.timeout, options.response_bytes_max);
  if (!pool.run([call, handler] { call->run(*handler); })) {
    response.headers().set("Retry-After", "1");
    return write_error(response, 503, "no thread is free");
  }
  bool in_time = false;
  {
    // The client is gone, or the server is forced down: the handler hears of it, and gets the rest
    // of its time.
    const std::stop_callback forward(request.stop_token(), [&call] { call->stop(); });
    in_time = call->wait(response, request);
  }
  call->stop();
  if (in_time) return call->deliver(response, request);
  pool.log().warn("handler timed out", {{"route", request.route()},
                                        {"request_id", request_id(request)},
                                        {"timeout_ms", whole_milliseconds(options.timeout)}});
  write_error(response, 503, options.message);
}

}  // namespace

Middleware handler_timeout(TimeoutPool& pool, TimeoutOptions options) {
  assert(options.timeout > Duration::zero());
  return [&pool, options = std::move(options)](Handler next) -> Handler {
    // Shared: a handler that has leaked may outlive the route that it was called through.
    const auto handler = std::make_shared<const Handler>(std::move(next));
    return [&pool, options, handler](ResponseWriter& response, Request& request) {
      serve(pool, options, handler, response, request);
    };
  };
}

Middleware handler_timeout(TimeoutPool& pool, Duration timeout) {
  return handler_timeout(pool, TimeoutOptions{.timeout = timeout});
}

}  // namespace vigil::http
