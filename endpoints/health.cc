#include "endpoints/health.h"

#include <fmt/core.h>

namespace vigil::endpoints {

Page health_page(const PageRequest&, const Services&) { return text_page("ok\n"); }

Page ready_page(const PageRequest&, const Services& services) {
  Page page;
  bool ready = true;
  std::string lines;
  if (services.sources != nullptr) {
    for (const ServerSource& server : services.sources->servers()) {
      if (!server.phase) continue;
      const http::ServerPhase phase = server.phase();
      const bool serves = phase == http::ServerPhase::kServing;
      ready = ready && serves;
      fmt::format_to(std::back_inserter(lines), "[{}] server {}: {}\n", serves ? '+' : '-',
                     server.name, http::server_phase_name(phase));
    }
  }
  page.status = ready ? 200 : 503;
  page.body = (ready ? "ready\n" : "not ready\n") + lines;
  return page;
}

}  // namespace vigil::endpoints
