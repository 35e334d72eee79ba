// The engine when what it calls fails, or does less than it might, for a while: accept4, recv, send, sendmsg, setsockopt,
// epoll_wait, poll and pthread_create. One call at a time: fault_matrix_test.cc.
#include "tests/support/faults.h"

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

std::atomic<std::uint64_t> faults{0};  // calls that were not as ever

// So many accepts fail, with that error.
std::atomic<int> accept_error{0};
std::atomic<int> accept_failures{0};

CallOutcome accepts_fail(Call call) {
  if (call != Call::kAccept || accept_failures.load() <= 0) return {};
  --accept_failures;
  return {.error = accept_error.load()};
}

CallOutcome setsockopt_fails(Call call) {
  if (call != Call::kSetsockopt) return {};
  ++faults;
  return {.error = EINVAL};
}

CallOutcome threads_fail(Call call) {
  return call == Call::kPthreadCreate ? CallOutcome{.error = EAGAIN} : CallOutcome{};
}

bool moves_bytes(Call call) { return call == Call::kRecv || call == Call::kSend; }
bool waits(Call call) { return call == Call::kPoll || call == Call::kEpollWait; }

// recv, send and sendmsg of engine threads move one byte.
CallOutcome one_byte(Call call) {
  if (http::EngineThread::current() == nullptr || !moves_bytes(call)) return {};
  ++faults;
  return {.bytes_max = 1};
}

// Of three calls one is EINTR and one EAGAIN, the third moves up to seven bytes. A wait ends early once in three.
CallOutcome interrupted(Call call) {
  if (http::EngineThread::current() == nullptr || !(moves_bytes(call) || waits(call))) return {};
  static constinit thread_local unsigned moves = 0;
  static constinit thread_local unsigned interruptible = 0;
  if (waits(call)) {
    if (++interruptible % 3 != 0) return {};
    ++faults;
    return {.error = EINTR};
  }
  ++faults;
  switch (++moves % 3) {
    case 0:
      return {.error = EINTR};
    case 1:
      return {.error = EAGAIN};
    default:
      return {.bytes_max = 7};
  }
}

}  // namespace

TEST_CASE("P3.4: whatever accept fails with, the server goes on accepting") {
  TestServer server;
  const WithFaults plan(accepts_fail);
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
  const WithFaults plan(accepts_fail);
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
  faults = 0;
  const WithFaults plan(one_byte);
  check_bodies(server);
  CHECK(faults > 1'000'000);
}

TEST_CASE("P3.5: with EINTR and EAGAIN for no reason, all bodies are intact") {
  TestServer server;
  faults = 0;
  const WithFaults plan(interrupted);
  check_bodies(server);
  CHECK(faults > 100'000);
}

TEST_CASE("P3.5: connections are served whatever setsockopt says") {
  faults = 0;
  const WithFaults plan(setsockopt_fails);
  TestServer server;
  for (int i = 0; i < 10; ++i) CHECK(server.get("/hello") == "200 hello\n");
  server.gate.open();
  CHECK(server.get("/hold").starts_with("200 "));
  CHECK(faults > 0);
}

TEST_CASE("P3.5: without threads a handler that may block gives 503, and all is well afterwards") {
  auto options = test_options();
  options.pollers = 1;
  TestServer server(options);
  RawClient client = server.connect();
  {
    const WithFaults plan(threads_fail);
    client.send(get_request("/hold"));
    const RawResponse refused = client.read_response();
    CHECK(refused.status == 503);
    CHECK(refused.header("retry-after") == "1");
    CHECK(server.stats().limits_hit.threads >= 1);
  }
  server.gate.open();
  client.send(get_request("/hold"));
  CHECK(client.read_response().status == 200);
}

TEST_CASE("P3.5: threads started ahead let as many handlers block when there is no other") {
  http::ServerOptions options = test_options();
  options.pollers = 1;
  options.threads_ahead = 2;
  TestServer server(options);
  std::vector<RawClient> holders;
  {
    const WithFaults plan(threads_fail);
    for (int i = 1; i <= 2; ++i) {
      holders.push_back(server.connect());
      holders.back().send(get_request("/hold"));
      CHECK(eventually([&] { return server.gate.waiting() == i; }));
    }
    RawClient third = server.connect();
    third.send(get_request("/hold"));
    CHECK(third.read_response().status == 503);
  }
  server.gate.open();
  for (RawClient& client : holders) CHECK(client.read_response().status == 200);
}

TEST_CASE("P3.4: with descriptors kept back newcomers are served without any other left") {
  http::ServerOptions options = test_options();
  options.descriptors_reserved = 2;
  TestServer server(options);
  const WithFaults plan(accepts_fail);
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
  const Result<void> started = [&] {
    const WithFaults plan(threads_fail);
    return server->start();
  }();
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().code() == ErrorCode::kResourceExhausted);
  CHECK(server->start().ok());
  RawClient client = server.connect();
  client.send(get_request("/"));
  CHECK(client.read_response().status == 200);
}
