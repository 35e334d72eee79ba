#include "agent/client/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>

#include <fmt/core.h>
#include <httplib.h>

#include "base/fd.h"

namespace vigil::client {
namespace {

template <typename Address>
int connect_to(int family, const Address& address) {
  const UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

int connect_to_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t size = std::min(path.size(), sizeof(address.sun_path) - 1);
  std::copy_n(path.data(), size, address.sun_path);
  return connect_to(AF_UNIX, address);
}

int connect_to_address(const HostPort& server) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(server.port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(server.port);
  if (::inet_pton(AF_INET, server.host.c_str(), &v4.sin_addr) == 1) return connect_to(AF_INET, v4);
  (void)::inet_pton(AF_INET6, server.host.c_str(), &v6.sin6_addr);
  return connect_to(AF_INET6, v6);
}

// Why a connection is refused: cpp-httplib says only that it is.
std::string connect_failure(const DebugServer& server) {
  const int failed = server.unix_path.empty() ? connect_to_address(server.address)
                                              : connect_to_unix(server.unix_path);
  return failed == 0 ? "the connection was closed" : Error::from_errno("connect", errno).message();
}

}  // namespace

struct HttpClient::Connection {
  explicit Connection(const DebugServer& server)
      : client(server.unix_path.empty() ? server.address.host : server.unix_path,
               server.unix_path.empty() ? server.address.port : 80) {
    if (!server.unix_path.empty()) client.set_address_family(AF_UNIX);
    httplib::Headers headers;
    // cpp-httplib would send the socket's path.
    if (!server.unix_path.empty()) headers.emplace("Host", "localhost");
    if (!server.token.empty()) headers.emplace("Authorization", "Bearer " + server.token);
    client.set_default_headers(headers);
  }
  httplib::Client client;
};

HttpClient::HttpClient(DebugServer server, Duration timeout)
    : server_(std::move(server)),
      name_(debug_server_name(server_)),
      connection_(std::make_unique<Connection>(server_)) {
  connection_->client.set_keep_alive(true);
  connection_->client.set_tcp_nodelay(server_.unix_path.empty());
  connection_->client.set_connection_timeout(std::chrono::seconds(5));
  connection_->client.set_read_timeout(std::chrono::ceil<std::chrono::microseconds>(timeout));
  connection_->client.set_write_timeout(std::chrono::ceil<std::chrono::microseconds>(timeout));
}

HttpClient::~HttpClient() = default;

Result<HttpClient::Answer> HttpClient::request(const std::string& method, const std::string& path) {
  httplib::Client& client = connection_->client;
  const httplib::Result result =
      method == "POST" ? client.Post(path.c_str()) : client.Get(path.c_str());
  if (result) return Answer{result->status, result->body};
  const std::string what = fmt::format("{} {}: ", method, debug_url(server_, path));
  if (result.error() == httplib::Error::Read) {
    return Error(ErrorCode::kDeadlineExceeded, what + "no answer, or cut off");
  }
  if (result.error() == httplib::Error::Connection) {
    return Error(ErrorCode::kClosed, what + connect_failure(server_));
  }
  return Error(ErrorCode::kSystem, what + httplib::to_string(result.error()));
}

Result<std::string> get_page(HttpClient& client, const std::string& path) {
  auto answer = client.request("GET", path);
  if (!answer) return answer.error();
  if (answer->status == 200) return std::move(answer->body);
  const std::string_view body = answer->body;
  return Error(ErrorCode::kUnsupported,
               fmt::format("GET {}: status {}: {}", debug_url(client.server(), path),
                           answer->status, body.substr(0, body.find('\n'))));
}

}  // namespace vigil::client
