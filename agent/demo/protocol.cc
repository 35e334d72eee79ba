#include "agent/demo/protocol.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <condition_variable>
#include <mutex>

#include <fmt/core.h>

#include "agent/demo/parameters.h"

namespace demo {
namespace {

using namespace std::chrono_literals;
using vigil::Result;
using vigil::http::HijackedConnection;
using vigil::http::Request;
using vigil::http::ResponseWriter;

constexpr std::string_view kProtocol = "line-echo";
constexpr timeval kSilenceMax{60, 0};
constexpr std::size_t kLineBytesMax = 4096;

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// Echoes the whole lines of `pending` and takes them out. false when the tunnel is to end.
bool echo_lines(int socket, std::string& pending) {
  std::size_t begin = 0;
  for (std::size_t end; (end = pending.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string_view line = std::string_view(pending).substr(begin, end + 1 - begin);
    if (!send_all(socket, line)) return false;
    if (line == "bye\n" || line == "bye\r\n") return false;
  }
  pending.erase(0, begin);
  return pending.size() <= kLineBytesMax;
}

void run_tunnel(HijackedConnection& connection) {
  const int socket = connection.fd();
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kSilenceMax, sizeof(kSilenceMax));
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &kSilenceMax, sizeof(kSilenceMax));
  connection.on_shutdown([socket] {
    // On the thread that shuts down: a peer that does not read must hold up neither this send nor
    // the tunnel, which may be inside one.
    constexpr std::string_view kGoodbye = "the server is going down\n";
    (void)::send(socket, kGoodbye.data(), kGoodbye.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ::shutdown(socket, SHUT_RDWR);
  });
  if (!send_all(socket, fmt::format("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                                    "Upgrade: {}\r\n\r\n",
                                    kProtocol))) {
    return;
  }
  std::string pending = connection.take_buffered();
  std::string bytes(kLineBytesMax, '\0');
  while (echo_lines(socket, pending)) {
    const ssize_t got = ::recv(socket, bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    pending.append(bytes, 0, static_cast<std::size_t>(got));
  }
}

// RFC 9110 §7.8: an Upgrade counts if Connection names it, and not in HTTP/1.0.
bool asks_for_tunnel(const Request& request) {
  const auto has = [&](std::string_view field, std::string_view token) {
    return vigil::http::list_has_token(request.header(field).value_or(""), token);
  };
  return request.method() == "GET" && request.version() != vigil::http::HttpVersion::kHttp10 &&
         has("Connection", "upgrade") && has("Upgrade", kProtocol);
}

void append_fields(std::string& text, const vigil::http::QueryParams& fields) {
  for (const auto& [name, value] : fields) text += fmt::format("{} = {}\n", name, value);
  if (fields.malformed() > 0) text += fmt::format("({} malformed)\n", fields.malformed());
}

}  // namespace

void line_tunnel(ResponseWriter& response, Request& request) {
  if (!asks_for_tunnel(request)) {
    response.headers().set("Upgrade", kProtocol);
    response.headers().set("Connection", "Upgrade");
    return vigil::http::write_error(response, 426,
                                    fmt::format("this needs \"Upgrade: {}\"", kProtocol));
  }
  Result<HijackedConnection> connection = response.hijack();
  if (!connection) return vigil::http::write_error(response, 503, connection.error().message());
  run_tunnel(*connection);
}

void early_hints(ResponseWriter& response, Request& request) {
  const auto pause = number_of(response, request, "ms", 100, 10'000);
  if (!pause) return;
  vigil::http::HeaderMap hints;
  hints.set("Link", "</style.css>; rel=preload; as=style");
  if (!response.inform(103, hints)) return;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, request.stop_token(), std::chrono::milliseconds(*pause),
                [] { return false; });
  response.headers().set("Content-Type", "text/plain; charset=utf-8");
  (void)response.write("the page, which takes its time\n");
}

void trailers(ResponseWriter& response, Request& request) {
  const auto count = number_of(response, request, "n", 10, 1'000'000);
  if (!count) return;
  response.headers().set("Content-Type", "text/plain; charset=utf-8");
  response.headers().set("Trailer", "X-Checksum");
  std::uint64_t sum = 0xcbf29ce484222325;  // FNV-1a, 64 bits
  for (std::int64_t i = 1; i <= *count; ++i) {
    const std::string line = fmt::format("line {}\n", i);
    for (const char c : line) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    if (!response.write(line)) return;
  }
  // An HTTP/1.0 client gets none, which is all that can be said here.
  (void)response.set_trailer("X-Checksum", fmt::format("{:016x}", sum));
}

void form(ResponseWriter& response, Request& request) {
  const auto fields = request.form();
  if (!fields) {
    return vigil::http::write_error(response, vigil::http::body_error_status(fields.error()),
                                    fields.error().message());
  }
  std::string text;
  append_fields(text, request.query());
  append_fields(text, **fields);
  response.headers().set("Content-Type", "text/plain; charset=utf-8");
  (void)response.write(text);
}

}  // namespace demo
