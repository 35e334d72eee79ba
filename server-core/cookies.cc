#include "server-core/cookies.h"

#include <algorithm>

#include "server-core/headers.h"

namespace vigil::http {
namespace {

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// cookie-octet: RFC 6265 §4.1.1.
bool is_value_byte(char c) {
  return c > 0x20 && c < 0x7f && c != '"' && c != ',' && c != ';' && c != '\\';
}

// path-value: anything but control bytes and ";".
bool is_path_byte(char c) { return c >= 0x20 && c < 0x7f && c != ';'; }

bool is_domain_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.';
}

Error bad(const Cookie& cookie, std::string_view why) {
  return Error(ErrorCode::kInvalidArgument, "cookie " + cookie.name + ": " + std::string(why));
}

Result<void> check(const Cookie& cookie) {
  if (!is_header_name(cookie.name)) {
    return Error(ErrorCode::kInvalidArgument, "a cookie's name must be a token");
  }
  const auto all = [](const std::string& text, bool (*is_allowed)(char)) {
    return std::all_of(text.begin(), text.end(), is_allowed);
  };
  if (!all(cookie.value, is_value_byte)) return bad(cookie, "a byte that no value may have");
  if (!cookie.path.starts_with('/') || !all(cookie.path, is_path_byte)) {
    return bad(cookie, "the path must begin with / and have no control byte or ;");
  }
  if (!all(cookie.domain, is_domain_byte)) return bad(cookie, "the domain is no host name");
  const bool host_only = cookie.name.starts_with("__Host-");
  if (!cookie.secure &&
      (cookie.same_site == SameSite::kNone || host_only || cookie.name.starts_with("__Secure-"))) {
    return bad(cookie, "browsers refuse it without Secure");
  }
  if (host_only && (cookie.path != "/" || !cookie.domain.empty())) {
    return bad(cookie, "browsers refuse a __Host- cookie with a domain or another path than /");
  }
  return {};
}

std::string_view same_site_name(SameSite same_site) {
  switch (same_site) {
    case SameSite::kStrict:
      return "Strict";
    case SameSite::kLax:
      return "Lax";
    case SameSite::kNone:
      break;
  }
  return "None";
}

}  // namespace

std::optional<std::string_view> cookie(const Request& request, std::string_view name) {
  for (const HeaderField& field : request.headers()) {
    if (!equals_ignoring_case(field.name, "cookie")) continue;
    for (std::string_view rest = field.value; !rest.empty();) {
      const std::size_t end = std::min(rest.find(';'), rest.size());
      const std::string_view pair = trimmed(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      const std::size_t equals = pair.find('=');
      if (equals == std::string_view::npos || pair.substr(0, equals) != name) continue;
      std::string_view value = pair.substr(equals + 1);
      if (value.size() >= 2 && value.starts_with('"') && value.ends_with('"')) {
        value = value.substr(1, value.size() - 2);
      }
      return value;
    }
  }
  return std::nullopt;
}

Result<void> set_cookie(ResponseWriter& response, const Cookie& cookie) {
  if (Result<void> ok = check(cookie); !ok) return ok;
  std::string text = cookie.name + "=" + cookie.value + "; Path=" + cookie.path;
  if (!cookie.domain.empty()) text += "; Domain=" + cookie.domain;
  if (cookie.max_age) {
    text += "; Max-Age=" + std::to_string(std::max<std::int64_t>(cookie.max_age->count(), 0));
  }
  if (cookie.secure) text += "; Secure";
  if (cookie.http_only) text += "; HttpOnly";
  text.append("; SameSite=").append(same_site_name(cookie.same_site));
  response.headers().add("Set-Cookie", text);
  return {};
}

}  // namespace vigil::http
