// Who may read the debug pages: local clients that asked for them themselves.
//
// The listener is bound to loopback, but a browser on the same machine reaches loopback too, sent
// there by any web page. What tells the two apart are headers that a page cannot forge: `Host` (DNS
// rebinding), `Origin` and `Sec-Fetch-Site`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vigil::endpoints {

// The headers that decide; nullopt where absent.
struct GuardedRequest {
  std::string_view host;
  std::optional<std::string_view> origin;
  std::optional<std::string_view> sec_fetch_site;
};

// Whether `host`, with or without a port, is localhost, 127.0.0.1 or [::1], letters in any case.
// Pure.
bool is_local_host(std::string_view host);

// The reason to answer 403, or nullopt. Pure. Never repeats what the client sent.
std::optional<std::string> refusal(const GuardedRequest& request);

}  // namespace vigil::endpoints
