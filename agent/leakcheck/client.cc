#include "agent/leakcheck/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include <fmt/format.h>
#include <httplib.h>

#include "base/fd.h"
#include "endpoints/leakcheck.h"

namespace vigil::leakcheck {
namespace {

// Why a connection is refused: cpp-httplib says only that it is.
std::string connect_failure(const HostPort& server) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(server.port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(server.port);
  const bool is_v4 = ::inet_pton(AF_INET, server.host.c_str(), &v4.sin_addr) == 1;
  if (!is_v4) (void)::inet_pton(AF_INET6, server.host.c_str(), &v6.sin6_addr);
  const UniqueFd fd(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto* address = is_v4 ? reinterpret_cast<sockaddr*>(&v4) : reinterpret_cast<sockaddr*>(&v6);
  const int failed = ::connect(fd.get(), address, is_v4 ? sizeof(v4) : sizeof(v6));
  return failed == 0 ? "the connection was closed" : Error::from_errno("connect", errno).message();
}

}  // namespace

struct Client::Connection {
  explicit Connection(const HostPort& server) : client(server.host, server.port) {}
  httplib::Client client;
};

Client::Client(const HostPort& server, Duration timeout)
    : server_(server),
      address_(format_host_port(server)),
      connection_(std::make_unique<Connection>(server)) {
  connection_->client.set_keep_alive(true);
  connection_->client.set_tcp_nodelay(true);
  connection_->client.set_connection_timeout(std::chrono::seconds(5));
  connection_->client.set_read_timeout(std::chrono::ceil<std::chrono::microseconds>(timeout));
  connection_->client.set_write_timeout(std::chrono::ceil<std::chrono::microseconds>(timeout));
}

Client::~Client() = default;

Result<Client::Answer> Client::request(const std::string& method, const std::string& path) {
  httplib::Client& client = connection_->client;
  const httplib::Result result =
      method == "POST" ? client.Post(path.c_str()) : client.Get(path.c_str());
  if (result) return Answer{result->status, result->body};
  const std::string what = fmt::format("{} http://{}{}: ", method, address_, path);
  if (result.error() == httplib::Error::Read) {
    return Error(ErrorCode::kDeadlineExceeded, what + "no answer, or cut off");
  }
  if (result.error() == httplib::Error::Connection) {
    return Error(ErrorCode::kClosed, what + connect_failure(server_));
  }
  return Error(ErrorCode::kSystem, what + httplib::to_string(result.error()));
}

Result<leakwatch::ProcessSnapshot> Client::snapshot() {
  constexpr const char* kPage = "/debug/leakcheck";
  const auto answer = request("GET", kPage);
  if (!answer) return answer.error();
  const std::string what = fmt::format("GET http://{}{}", address_, kPage);
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
