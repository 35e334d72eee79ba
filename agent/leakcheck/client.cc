#include "agent/leakcheck/client.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include <fmt/core.h>

#include "base/fd.h"
#include "endpoints/leakcheck.h"

namespace vigil::leakcheck {

Client::Client(const HostPort& server, Duration timeout)
    : HttpClient({.address = server}, timeout) {}

Result<leakwatch::ProcessSnapshot> Client::snapshot() {
  constexpr const char* kPage = "/debug/leakcheck";
  const auto answer = request("GET", kPage);
  if (!answer) return answer.error();
  const std::string what = fmt::format("GET {}", client::debug_url(server(), kPage));
  if (answer->status != 200) {
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("{}: status {}: is this a vigil debug listener?", what, answer->status));
  }
  auto snapshot = endpoints::parse_snapshot_json(answer->body);
  if (!snapshot) return std::move(snapshot).error().with_context(what);
  return snapshot;
}

Result<HostPort> free_address() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return Error::from_errno("no free port", errno);
  }
  return HostPort{"127.0.0.1", ntohs(address.sin_port)};
}

}  // namespace vigil::leakcheck
