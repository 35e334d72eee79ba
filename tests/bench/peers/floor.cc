// The floor for `scripts/bench http`: the least that a server must do for a kept-alive GET, a raw
// epoll loop that reads whatever is there and writes a fixed answer, level-triggered, without any
// parsing. What any real server costs beyond it is its own. With THREADS, so many such loops with
// the connections dealt out among them, for a server that has as many pollers.
//
// usage: bench-floor PORT [THREADS]

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/bench/arguments.h"

namespace {

constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\n"
    "Date: Sun, 22 Nov 2026 14:25:00 GMT\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Length: 13\r\n"
    "\r\n"
    "hello, world\n";

int listen_on(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, 4096) != 0) {
    std::perror("bench-floor");
    std::exit(1);
  }
  return fd;
}

void add(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void accept_one(int epoll, int listener) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  add(epoll, fd);
}

void answer(int fd) {
  char buffer[16384];
  const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
  if (got <= 0) {
    close(fd);
    return;
  }
  if (send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL) < 0) close(fd);
}

// Accepted connections go to the loops in turn.
void loop(int epoll, int listener, const std::vector<int>& epolls) {
  epoll_event events[256];
  std::size_t next = 0;
  for (;;) {
    const int count = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == listener) {
        accept_one(epolls[next++ % epolls.size()], listener);
      } else {
        answer(events[i].data.fd);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fputs("usage: bench-floor PORT [THREADS]\n", stderr);
    return 2;
  }
  const std::uint16_t port = vigil::bench::port_argument("bench-floor", argv[1]);
  const auto threads =
      argc == 3 ? vigil::bench::number_argument("bench-floor", "THREADS", argv[2], 1, 1024) : 1;
  const int listener = listen_on(port);
  std::vector<int> epolls;
  for (std::int64_t i = 0; i < threads; ++i) epolls.push_back(epoll_create1(EPOLL_CLOEXEC));
  add(epolls[0], listener);
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < epolls.size(); ++i) {
    others.emplace_back(loop, epolls[i], listener, std::cref(epolls));
  }
  loop(epolls[0], listener, epolls);
}
