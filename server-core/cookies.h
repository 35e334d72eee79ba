// Cookies (RFC 6265): reading a request's, setting one with a response.
//
//   std::string_view session = cookie(request, "session").value_or("");
//   Result<void> set = set_cookie(response, {.name = "session", .value = id, .max_age = 1h});
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server-core/request.h"
#include "server-core/response_writer.h"

namespace vigil::http {

// The value of the first cookie of that name, as it was sent, without the quotes around it if it
// has some. Names compare exactly. Valid until the handler returns. A value comes from the client:
// it says nothing that the client was not told, but anything that it likes.
std::optional<std::string_view> cookie(const Request& request, std::string_view name);

// With what requests of other sites a browser sends the cookie.
enum class SameSite : std::uint8_t {
  kStrict,  // with none
  kLax,     // when the user follows a link
  kNone,    // with all; browsers want Secure for it
};

// Defaults are the careful ones: over TLS only (browsers make an exception for localhost), not for
// scripts, for this host alone.
struct Cookie {
  std::string name;
  std::string value;
  std::string path = "/";
  std::string domain = {};  // empty: the host that sets it, without its subdomains
  // Kept so long, whole seconds; zero or less deletes it. Without: until the browser ends.
  std::optional<std::chrono::seconds> max_age = std::nullopt;
  bool secure = true;
  bool http_only = true;
  SameSite same_site = SameSite::kLax;
};

// Adds a Set-Cookie field.
//   invalid_argument   the name is no token, the value, path or domain has a byte that it may not
//                      have (encode such values), or a rule that browsers enforce is broken:
//                      SameSite=None and the names __Secure- and __Host- need `secure`, the latter
//                      also "/" as path and no domain
Result<void> set_cookie(ResponseWriter& response, const Cookie& cookie);

}  // namespace vigil::http
