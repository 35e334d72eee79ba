#include "server-core/middleware.h"

namespace vigil::http {

Handler chain(Handler handler, const std::vector<Middleware>& around) {
  for (auto layer = around.rbegin(); layer != around.rend(); ++layer) {
    handler = (*layer)(std::move(handler));
  }
  return handler;
}

}  // namespace vigil::http
