#include "server-core/in_flight_limit.h"

#include <string>

namespace vigil::http {

bool InFlightLimit::enter() {
  std::size_t now = now_.load(std::memory_order_relaxed);
  while (now < options_.max) {
    if (now_.compare_exchange_weak(now, now + 1, std::memory_order_relaxed)) return true;
  }
  refused_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

Middleware limit_in_flight(std::shared_ptr<InFlightLimit> limit) {
  return [limit = std::move(limit)](Handler next) -> Handler {
    return [limit, next = std::move(next)](ResponseWriter& response, Request& request) {
      if (!limit->enter()) {
        response.headers().set("Retry-After", std::to_string(limit->options().retry_after.count()));
        return write_error(response, 503, "too many requests of this kind in flight");
      }
      struct Leaving {
        InFlightLimit& limit;
        ~Leaving() { limit.leave(); }
      } leaving{*limit};
      next(response, request);
    };
  };
}

}  // namespace vigil::http
