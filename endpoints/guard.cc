#include "endpoints/guard.h"

#include <algorithm>
#include <cctype>

#include "base/socket_address.h"
#include "base/text.h"
#include "server-core/headers.h"

namespace vigil::endpoints {
namespace {

constexpr std::string_view kBearer = "Bearer ";
// What a random token of 80 bits needs in base 32; anything shorter can be guessed in time.
constexpr std::size_t kTokenBytesMin = 16;
constexpr std::size_t kTokenBytesMax = 1024;

// "host:port", "[v6]:port" or either without port: the host part; nullopt if what follows is no
// port.
std::optional<std::string_view> without_port(std::string_view host) {
  const std::size_t bracket = host.find(']');
  const std::size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon == std::string_view::npos) return host;
  if (!parse_integer(host.substr(colon + 1), 0, 65'535).ok()) return std::nullopt;
  return host.substr(0, colon);
}

// "Bearer TOKEN" with the right one.
bool carries(const std::optional<std::string_view>& authorization, std::string_view token) {
  if (!authorization || authorization->size() <= kBearer.size()) return false;
  if (!http::equals_ignoring_case(authorization->substr(0, kBearer.size()), kBearer)) return false;
  return equal_in_constant_time(authorization->substr(kBearer.size()), token);
}

}  // namespace

bool is_local_host(std::string_view host) {
  const auto name = without_port(host);
  if (!name) return false;
  return http::equals_ignoring_case(*name, "localhost") || *name == "127.0.0.1" || *name == "[::1]";
}

Peer peer_of(std::string_view host) {
  if (host.starts_with("unix(")) return Peer::kUnixSocket;
  return is_loopback(std::string(host)) ? Peer::kThisMachine : Peer::kOtherMachine;
}

std::optional<Refusal> refusal(const GuardedRequest& request, std::string_view token) {
  if (request.origin) {
    return Refusal{403, "the debug pages do not answer to other web pages (Origin)"};
  }
  if (request.sec_fetch_site && *request.sec_fetch_site != "none" &&
      *request.sec_fetch_site != "same-origin") {
    return Refusal{403, "the debug pages do not answer to other web pages (Sec-Fetch-Site)"};
  }
  if (request.peer == Peer::kUnixSocket) return std::nullopt;
  if (!token.empty()) {
    if (carries(request.authorization, token)) return std::nullopt;
    return Refusal{401, "the debug pages want their token: Authorization: Bearer TOKEN"};
  }
  if (request.peer == Peer::kOtherMachine) {
    return Refusal{403, "the debug pages answer to this machine only, unless they have a token"};
  }
  if (!is_local_host(request.host)) {
    return Refusal{403, "the debug pages answer only to Host localhost, 127.0.0.1 or [::1]"};
  }
  return std::nullopt;
}

Result<void> check_token(std::string_view token) {
  const bool usable = std::all_of(token.begin(), token.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("-._~+/=").find(char(c)) != std::string_view::npos;
  });
  if (usable && token.size() >= kTokenBytesMin && token.size() <= kTokenBytesMax) return {};
  return Error(ErrorCode::kInvalidArgument,
               "a token for the debug pages has 16 to 1024 letters, digits and -._~+/= in it");
}

bool equal_in_constant_time(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() != secret.size();
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char other = secret.empty() ? '\0' : secret[i % secret.size()];
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(other);
    // Unseen by the compiler, or it could stop at the first difference.
    __asm__ volatile("" : "+r"(difference));
  }
  return difference == 0;
}

}  // namespace vigil::endpoints
