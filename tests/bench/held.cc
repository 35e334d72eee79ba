// Holds connections for `scripts/bench`: idle after one answered request, dripping a head a byte a
// second, or each with a handler that never answers.
//
// usage: bench-held idle|drip|stuck PORT COUNT
//
// Prints "holding COUNT" once all are in that state, then goes on until it is killed. Exit status 1
// if the server closes one, 2 for a usage error. Loopback only.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/bench/arguments.h"

namespace {

constexpr std::string_view kRequest = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr std::string_view kStuck = "GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr std::string_view kDripped = "GET /hello HTTP/1.1\r\nHost: localhost\r\nX-Padding: ";

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "bench-held: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int connect_to(std::uint16_t port, std::size_t number) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  // Different source addresses, so that the ports of one do not run out.
  sockaddr_in source{};
  source.sin_family = AF_INET;
  source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(number / 10'000));
  // The port is chosen by connect(), which may take one that another peer's connection has, or had
  // until a moment ago; bind() may not, and runs out of them behind a benchmark of many connections.
  const int at_connect = 1;
  if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &at_connect, sizeof at_connect) != 0)
    fail("setsockopt");
  if (bind(fd, reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0) fail("bind");
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail("connect");
  return fd;
}

void send_all(int fd, std::string_view bytes) {
  if (send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
    fail("send");
  }
}

void make_idle(int fd) {
  send_all(fd, kRequest);
  char buffer[4096];
  if (recv(fd, buffer, sizeof buffer, 0) <= 0) fail("recv");
}

// One byte a second on every connection, spread over the second in batches.
void drip(const std::vector<int>& fds) {
  constexpr int kBatches = 100;
  for (std::size_t round = 0;; ++round) {
    for (int batch = 0; batch < kBatches; ++batch) {
      for (std::size_t i = static_cast<std::size_t>(batch); i < fds.size(); i += kBatches) {
        send_all(fds[i], round < kDripped.size() ? kDripped.substr(round, 1) : "x");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1000) / kBatches);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc == 4 ? argv[1] : "";
  if (mode != "idle" && mode != "drip" && mode != "stuck") {
    std::fputs("usage: bench-held idle|drip|stuck PORT COUNT\n", stderr);
    return 2;
  }
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  const std::uint16_t port = vigil::bench::port_argument("bench-held", argv[2]);
  const auto count = static_cast<std::size_t>(
      vigil::bench::number_argument("bench-held", "COUNT", argv[3], 1, 1'000'000));
  std::vector<int> fds;
  for (std::size_t i = 0; i < count; ++i) {
    fds.push_back(connect_to(port, i));
    if (mode == "idle") make_idle(fds.back());
    if (mode == "stuck") send_all(fds.back(), kStuck);
  }
  std::printf("holding %zu\n", count);
  std::fflush(stdout);
  if (mode == "drip") drip(fds);
  pause();
}
