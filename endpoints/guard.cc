#include "endpoints/guard.h"

#include "base/text.h"
#include "server-core/headers.h"

namespace vigil::endpoints {
namespace {

// "host:port", "[v6]:port" or either without port: the host part; nullopt if what follows is no
// port.
std::optional<std::string_view> without_port(std::string_view host) {
  const std::size_t bracket = host.find(']');
  const std::size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon == std::string_view::npos) return host;
  if (!parse_integer(host.substr(colon + 1), 0, 65'535).ok()) return std::nullopt;
  return host.substr(0, colon);
}

}  // namespace

bool is_local_host(std::string_view host) {
  const auto name = without_port(host);
  if (!name) return false;
  return http::equals_ignoring_case(*name, "localhost") || *name == "127.0.0.1" || *name == "[::1]";
}

std::optional<std::string> refusal(const GuardedRequest& request) {
  if (!is_local_host(request.host)) {
    return "the debug pages answer only to Host localhost, 127.0.0.1 or [::1]";
  }
  if (request.origin) return "the debug pages do not answer to other web pages (Origin)";
  if (request.sec_fetch_site && *request.sec_fetch_site != "none" &&
      *request.sec_fetch_site != "same-origin") {
    return "the debug pages do not answer to other web pages (Sec-Fetch-Site)";
  }
  return std::nullopt;
}

}  // namespace vigil::endpoints
