// PUB-2 in real time, so with wide limits: a deadline of 300 ms must pass, and have passed within 3
// s.
#include <string>
#include <thread>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil::test;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kDeadline = 300ms;
constexpr auto kLatest = 3000ms;

// Sends `text` a byte each 20 ms until the connection ends, the text is out, or kLatest has passed.
void drip(RawClient& client, const std::string& text) {
  const auto end = Clock::now() + kLatest;
  for (char c : text) {
    if (Clock::now() > end || !client.send({&c, 1})) return;
    if (client.receive(20ms) || client.ended()) return;
  }
}

template <typename Action>
void check_takes_the_deadline(Action action) {
  const auto begin = Clock::now();
  action();
  CHECK(Clock::now() - begin >= kDeadline - 5ms);
  CHECK(Clock::now() - begin < kLatest);
}

}  // namespace

TEST_CASE("P2.1: a connection that says nothing is closed silently at read_header") {
  auto options = test_options();
  options.read_header_timeout = kDeadline;
  TestServer server(options);
  RawClient client = server.connect();
  check_takes_the_deadline([&] { CHECK(client.closed_within(kLatest)); });
  CHECK(server.stats().timeouts.read_header == 1);
}

TEST_CASE(
    "P2.1: a head that drips gets 408 at read_header, also on a kept-alive connection (P2.4)") {
  auto options = test_options();
  options.read_header_timeout = kDeadline;
  TestServer server(options);
  RawClient client = server.connect_idle();
  check_takes_the_deadline(
      [&] { drip(client, get_request("/hello", "X: " + std::string(1000, 'a') + "\r\n")); });
  const RawResponse response = client.read_response();
  CHECK(response.status == 408);
  CHECK(response.header("connection") == "close");
  CHECK(client.closed_within(kLatest));
}

TEST_CASE("P2.2: a body that drips: 408 while it is collected, a read error when it is streamed") {
  auto options = test_options();
  options.read_timeout = kDeadline;
  TestServer server(options);
  RawClient small = server.connect();
  check_takes_the_deadline([&] {
    small.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    drip(small, std::string(1000, 'b'));
  });
  CHECK(small.read_response().status == 408);
  CHECK(small.closed_within(kLatest));

  RawClient streamed = server.connect();
  check_takes_the_deadline([&] {
    streamed.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    std::string chunks;
    for (int i = 0; i < 200; ++i) chunks += "1\r\nx\r\n";
    drip(streamed, chunks);
  });
  CHECK(streamed.read_response().header("x-error") == "deadline_exceeded");
  CHECK(streamed.closed_within(kLatest));
  CHECK(server.stats().timeouts.read == 2);
}

TEST_CASE("P2.3: a slow reader is cut at the write deadline, and the handler's write fails") {
  auto options = test_options();
  options.write_timeout = kDeadline;
  TestServer server(options);
  RawClient client(server->endpoint(), 4096);
  check_takes_the_deadline([&] {
    client.send(get_request("/big?n=268435456"));
    REQUIRE(eventually([&] { return server.write_errors == 1; }));
  });
  CHECK_FALSE(client.read_response().complete);
  CHECK(server.stats().timeouts.write >= 1);
}

TEST_CASE(
    "a response that waits for its reader holds no thread, and is cut at the write deadline") {
  auto options = test_options();
  options.write_timeout = kDeadline;
  TestServer server(options, [](vigil::http::Router& router) {
    // One write of less than the buffer at the end, behind what fills the socket without blocking.
    add(router, "GET /fill",
        [](auto& response, auto&) { (void)response.write(std::string(30'000, 'x')); });
  });
  RawClient client(server->endpoint(), 4096);
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += get_request("/fill");
  client.send(requests);
  REQUIRE(eventually([&] { return server.stats().connections.flushing == 1; }));
  CHECK(server.stats().connections.handling == 0);
  REQUIRE(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(server.stats().timeouts.write == 1);
}

TEST_CASE("a response that waits for its reader is finished when the reader comes back") {
  TestServer server(test_options(), [](vigil::http::Router& router) {
    add(router, "GET /fill",
        [](auto& response, auto&) { (void)response.write(std::string(30'000, 'x')); });
  });
  RawClient client(server->endpoint(), 4096);
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += get_request("/fill");
  client.send(requests);
  REQUIRE(eventually([&] { return server.stats().connections.flushing == 1; }));
  int whole = 0;
  for (int i = 0; i < 1000; ++i) {
    const RawResponse response = client.read_response();
    whole += response.complete && response.body.size() == 30'000;
  }
  CHECK(whole == 1000);
}

TEST_CASE("P2.4: an idle connection is closed at idle, 0 falls back to read (P2.7)") {
  for (const bool fallback : {false, true}) {
    auto options = test_options();
    options.idle_timeout = fallback ? 0ms : kDeadline;
    if (fallback) options.read_timeout = kDeadline;
    TestServer server(options);
    RawClient client = server.connect_idle();
    check_takes_the_deadline([&] { CHECK(client.closed_within(kLatest)); });
    CHECK(server.stats().timeouts.idle == 1);
  }
}

TEST_CASE("P2.5: a handler beyond the write deadline: the client is cut off, never a late 200") {
  auto options = test_options();
  options.write_timeout = kDeadline;
  TestServer server(options);
  RawClient client = server.connect();
  check_takes_the_deadline([&] {
    client.send(get_request("/hold"));
    CHECK(client.closed_within(kLatest));
  });
  CHECK(server.gate.waiting() == 1);
  server.gate.open();
  REQUIRE(eventually([&] { return server.stats().connections.open() == 0; }));
}

TEST_CASE("P2.8: a handler moves its own write deadline") {
  auto options = test_options();
  options.write_timeout = kDeadline;
  TestServer server(options, [](vigil::http::Router& router) {
    add(router, "GET /long", [](auto& response, auto& request) {
      response.set_write_deadline(request.start_time() + 20s);
      std::this_thread::sleep_for(kDeadline * 2);
      (void)response.write("late but allowed");
    });
  });
  CHECK(server.get("/long") == "200 late but allowed");
}
