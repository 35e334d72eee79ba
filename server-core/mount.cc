#include "server-core/mount.h"

#include <cassert>

namespace vigil::http {
namespace {

// Whether `path` is `prefix` and something below it.
bool is_below(std::string_view path, std::string_view prefix) {
  return path.starts_with(prefix) && path.size() > prefix.size() && path[prefix.size()] == '/';
}

}  // namespace

Middleware strip_prefix(std::string prefix) {
  assert(prefix.starts_with('/') && !prefix.ends_with('/'));
  return [prefix = std::move(prefix)](Handler next) -> Handler {
    return [prefix, next = std::move(next)](ResponseWriter& response, Request& request) {
      // Both: "/%61pi/x" is below "/api" when decoded, but what to take off the raw path is not
      // known then.
      if (!is_below(request.path(), prefix) || !is_below(request.raw_path(), prefix)) {
        return write_error(response, 404);
      }
      const PathScope scope(request, prefix);
      next(response, request);
    };
  };
}

}  // namespace vigil::http
