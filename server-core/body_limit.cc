#include "server-core/body_limit.h"

namespace vigil::http {

Middleware body_limit(std::uint64_t bytes_max) {
  return [bytes_max](Handler next) -> Handler {
    return [bytes_max, next = std::move(next)](ResponseWriter& response, Request& request) {
      request.limit_body(bytes_max);
      next(response, request);
    };
  };
}

}  // namespace vigil::http
