// The engine when what it calls fails, or does less than it might: accept4, recv, send, sendmsg,
// setsockopt, epoll_wait, poll and pthread_create. All are replaced in this executable by the linker
// (--wrap), for our objects only.
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <vector>

#include "server-core/engine_thread.h"
#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;

namespace {

std::atomic<int> accept_error{0};
std::atomic<int> accept_failures{0};
std::atomic<bool> threads_fail{false};

// What the socket calls of engine threads do.
enum class Sockets : std::uint8_t {
  kAsEver,
  kOneByte,      // recv, send and sendmsg move one byte
  kInterrupted,  // of three calls one is EINTR and one EAGAIN, the third moves up to seven bytes
};
std::atomic<Sockets> sockets{Sockets::kAsEver};
std::atomic<bool> setsockopt_fails{false};
std::atomic<std::uint64_t> faults{0};  // calls that were not as ever

class WithSockets {
 public:
  explicit WithSockets(Sockets mode) {
    faults = 0;
    sockets = mode;
  }
  ~WithSockets() { sockets = Sockets::kAsEver; }
};

// How many bytes a call for `size` may move; 0: it fails, with errno set.
std::size_t allowed(std::size_t size) {
  static thread_local unsigned calls = 0;
  if (http::EngineThread::current() == nullptr || size == 0) return size;
  switch (sockets.load()) {
    case Sockets::kAsEver:
      return size;
    case Sockets::kOneByte:
      ++faults;
      return 1;
    case Sockets::kInterrupted:
      break;
  }
  ++faults;
  switch (++calls % 3) {
    case 0:
      errno = EINTR;
      return 0;
    case 1:
      errno = EAGAIN;
      return 0;
    default:
      return std::min<std::size_t>(size, 7);
  }
}

// A wait that ends early, once in three calls.
bool interrupts_wait() {
  static thread_local unsigned calls = 0;
  if (http::EngineThread::current() == nullptr || sockets.load() != Sockets::kInterrupted) {
    return false;
  }
  if (++calls % 3 != 0) return false;
  ++faults;
  errno = EINTR;
  return true;
}

}  // namespace

extern "C" {
// NOLINTBEGIN: the linker's names
int __real_accept4(int fd, sockaddr* address, socklen_t* size, int flags);
int __wrap_accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  if (accept_failures.load() > 0) {
    --accept_failures;
    errno = accept_error.load();
    return -1;
  }
  return __real_accept4(fd, address, size, flags);
}

ssize_t __real_recv(int fd, void* into, size_t size, int flags);
ssize_t __wrap_recv(int fd, void* into, size_t size, int flags) {
  const std::size_t bytes = allowed(size);
  return bytes == 0 && size > 0 ? -1 : __real_recv(fd, into, bytes, flags);
}

ssize_t __real_send(int fd, const void* from, size_t size, int flags);
ssize_t __wrap_send(int fd, const void* from, size_t size, int flags) {
  const std::size_t bytes = allowed(size);
  return bytes == 0 && size > 0 ? -1 : __real_send(fd, from, bytes, flags);
}

ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < message->msg_iovlen; ++i) size += message->msg_iov[i].iov_len;
  const std::size_t bytes = allowed(size);
  if (bytes == size) return __real_sendmsg(fd, message, flags);
  if (bytes == 0) return -1;
  for (std::size_t i = 0; i < message->msg_iovlen; ++i) {
    const iovec& part = message->msg_iov[i];
    if (part.iov_len > 0)
      return __real_send(fd, part.iov_base, std::min(bytes, part.iov_len), flags);
  }
  return 0;
}

int __real_setsockopt(int fd, int level, int name, const void* value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t size) {
  if (setsockopt_fails.load()) {
    ++faults;
    errno = EINVAL;
    return -1;
  }
  return __real_setsockopt(fd, level, name, value, size);
}

int __real_poll(pollfd* all, nfds_t count, int timeout_ms);
int __wrap_poll(pollfd* all, nfds_t count, int timeout_ms) {
  return interrupts_wait() ? -1 : __real_poll(all, count, timeout_ms);
}

int __real_epoll_wait(int fd, epoll_event* into, int count, int timeout_ms);
int __wrap_epoll_wait(int fd, epoll_event* into, int count, int timeout_ms) {
  return interrupts_wait() ? -1 : __real_epoll_wait(fd, into, count, timeout_ms);
}

int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                          void* argument);
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                          void* argument) {
  if (threads_fail.load()) return EAGAIN;
  return __real_pthread_create(thread, attributes, run, argument);
}
// NOLINTEND
}

TEST_CASE("P3.4: whatever accept fails with, the server goes on accepting") {
  TestServer server;
  for (int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO, EPERM, EHOSTUNREACH,
                    ENETDOWN, EINTR, EAGAIN}) {
    INFO("errno " << error);
    accept_error = error;
    accept_failures = 3;
    const std::uint64_t before = server.stats().accept_errors;
    const auto begin = std::chrono::steady_clock::now();
    const std::string first = server.get("/hello");
    // Without descriptors the reserved one serves to say so.
    CHECK((first == "200 hello\n" || (first == "503 " && (error == EMFILE || error == ENFILE))));
    CHECK(std::chrono::steady_clock::now() - begin < 1s);
    CHECK(accept_failures == 0);
    CHECK((server.stats().accept_errors > before) == (error != EAGAIN));
    // The next one may still be told so in the same go.
    CHECK(eventually([&] { return server.get("/hello") == "200 hello\n"; }));
  }
}

TEST_CASE("P3.4: accepting backs off while it fails, and does not fill the log") {
  TestServer server;
  accept_error = ENOBUFS;
  accept_failures = 1'000'000;
  RawClient client = server.connect();
  client.send(get_request("/hello"));
  CHECK_FALSE(client.receive(1000ms));
  // 5, 10, 20, … ms: eight attempts in 1.3 s.
  CHECK(server.stats().accept_errors >= 3);
  CHECK(server.stats().accept_errors <= 12);
  accept_failures = 0;
  const auto begin = std::chrono::steady_clock::now();
  CHECK(client.read_response().status == 200);
  CHECK(std::chrono::steady_clock::now() - begin < 3s);
  CHECK(server.sink.lines() == 1);
}

// Bytes that are nowhere alike: a lost, doubled or moved one is seen.
std::string varied(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 1;
  for (char& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>('a' + (state >> 24) % 26);
  }
  return text;
}

std::string chunks_of(const std::string& body, std::size_t size) {
  std::string text;
  for (std::size_t at = 0; at < body.size(); at += size) {
    const std::string part = body.substr(at, size);
    char line[32];
    std::snprintf(line, sizeof(line), "%zx\r\n", part.size());
    text += line + part + "\r\n";
  }
  return text + "0\r\n\r\n";
}

// Every way for a body to go in and out, on one connection.
void check_bodies(TestServer& server) {
  RawClient client = server.connect();
  const auto echoed = [&](const std::string& fields, const std::string& sent,
                          const std::string& body) {
    INFO(fields << ", " << body.size() << " bytes");
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n\r\n");
    client.send(sent);
    const RawResponse response = client.read_response();
    CHECK(response.status == 200);
    CHECK(response.complete);
    CHECK(response.body == body);
  };
  for (const std::size_t size : {1, 1000, 65536, 65537, 200'000}) {
    const std::string body = varied(size);
    echoed("Content-Length: " + std::to_string(size), body, body);
    echoed("Transfer-Encoding: chunked", chunks_of(body, 777), body);
  }
  // Two at once, and what is left unread between them.
  client.send("POST /noread HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + varied(90'000) +
              get_request("/hello"));
  CHECK(client.read_response().status == 200);
  CHECK(client.read_response().body == "hello\n");
  client.send(get_request("/big?n=300000"));
  const RawResponse big = client.read_response();
  CHECK(big.complete);
  CHECK(big.body.size() == 300'000);
}

TEST_CASE("P3.5: with one byte a recv and a send, all bodies are intact") {
  TestServer server;
  const WithSockets mode(Sockets::kOneByte);
  check_bodies(server);
  CHECK(faults > 1'000'000);
}

TEST_CASE("P3.5: with EINTR and EAGAIN for no reason, all bodies are intact") {
  TestServer server;
  const WithSockets mode(Sockets::kInterrupted);
  check_bodies(server);
  CHECK(faults > 100'000);
}

TEST_CASE("P3.5: connections are served whatever setsockopt says") {
  setsockopt_fails = true;
  faults = 0;
  {
    TestServer server;
    for (int i = 0; i < 10; ++i) CHECK(server.get("/hello") == "200 hello\n");
    server.gate.open();
    CHECK(server.get("/hold").starts_with("200 "));
  }
  setsockopt_fails = false;
  CHECK(faults > 0);
}

TEST_CASE("P3.5: without threads a handler that may block gives 503, and all is well afterwards") {
  auto options = test_options();
  options.pollers = 1;
  TestServer server(options);
  RawClient client = server.connect();
  threads_fail = true;
  client.send(get_request("/hold"));
  const RawResponse refused = client.read_response();
  CHECK(refused.status == 503);
  CHECK(refused.header("retry-after") == "1");
  CHECK(server.stats().limits_hit.threads >= 1);
  threads_fail = false;
  server.gate.open();
  client.send(get_request("/hold"));
  CHECK(client.read_response().status == 200);
}

TEST_CASE("P3.5: threads started ahead let as many handlers block when there is no other") {
  http::ServerOptions options = test_options();
  options.pollers = 1;
  options.threads_ahead = 2;
  TestServer server(options);
  threads_fail = true;
  std::vector<RawClient> holders;
  for (int i = 1; i <= 2; ++i) {
    holders.push_back(server.connect());
    holders.back().send(get_request("/hold"));
    CHECK(eventually([&] { return server.gate.waiting() == i; }));
  }
  RawClient third = server.connect();
  third.send(get_request("/hold"));
  CHECK(third.read_response().status == 503);
  threads_fail = false;
  server.gate.open();
  for (RawClient& client : holders) CHECK(client.read_response().status == 200);
}

TEST_CASE("P3.4: with descriptors kept back newcomers are served without any other left") {
  http::ServerOptions options = test_options();
  options.descriptors_reserved = 2;
  TestServer server(options);
  accept_error = EMFILE;
  for (int round = 0; round < 3; ++round) {  // what was lent comes back with the connection's end
    RawClient client = server.connect();
    accept_failures = 1;
    RawClient second = server.connect();
    second.send(get_request("/hello"));
    CHECK(second.read_response().status == 200);
    CHECK(accept_failures == 0);
    second.close();
    client.close();
    CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  }
  CHECK(server.stats().limits_hit.descriptors == 0);
  CHECK(server.sink.lines() == 0);

  // One more failure than there are.
  accept_failures = 3;
  const std::string refused = server.get("/hello");
  CHECK(refused == "503 ");
  CHECK(server.stats().limits_hit.descriptors >= 1);
}

TEST_CASE("P3.5: a server that gets no threads does not start, and can be started later") {
  BareServer server;
  threads_fail = true;
  const Result<void> started = server->start();
  threads_fail = false;
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().code() == ErrorCode::kResourceExhausted);
  CHECK(server->start().ok());
  RawClient client = server.connect();
  client.send(get_request("/"));
  CHECK(client.read_response().status == 200);
}
