// PUB-4: start, shutdown, close.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;
using vigil::http::ShutdownReport;

namespace {
MonotonicTime in(Duration time) { return SystemClock().now() + time; }
}  // namespace

TEST_CASE("an address in use is an error that says so, so is an option without sense") {
  TestServer server;
  auto options = test_options();
  options.listen = server->endpoint();
  auto second = http::Server::create(
      options, [](auto&, auto&) {}, server.registry, server.sink, server.clock);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().code() == ErrorCode::kBusy);
  CHECK(second.error().message().find(format_host_port(options.listen)) != std::string::npos);
  options = test_options();
  options.max_header_bytes = 10;
  second = http::Server::create(
      options, [](auto&, auto&) {}, server.registry, server.sink, server.clock);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().code() == ErrorCode::kInvalidArgument);
  CHECK(second.error().message().find("max_header_bytes") != std::string::npos);
}

TEST_CASE("P4.1: shutdown closes idle connections at once and lets requests in flight finish") {
  TestServer server;
  RawClient idle = server.connect();
  idle.send(get_request("/hello"));
  CHECK(idle.read_response().status == 200);
  RawClient busy = server.connect();
  busy.send(get_request("/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));

  ShutdownReport report;
  std::thread stopping([&] { report = server->shutdown(in(20s)); });
  const bool idle_closed = idle.closed_within(5s);
  const bool refused = eventually([&] { return !server.connect().connected(); });
  server.gate.open();
  const RawResponse response = busy.read_response();
  const bool busy_closed = busy.closed_within(5s);
  busy.close();
  stopping.join();
  CHECK(idle_closed);
  CHECK(refused);
  CHECK(response.body == "released\n");
  CHECK(response.header("connection") == "close");
  CHECK(busy_closed);
  CHECK(report.complete());
  CHECK(report.drained == 1);
  CHECK(report.closed_idle == 1);
  CHECK(server.stats().connections.open() == 0);
  CHECK_FALSE(server->start().ok());
}

TEST_CASE("P4.3: a handler beyond the deadline is named, its connection cut") {
  TestServer server;
  RawClient client = server.connect();
  client.send(get_request("/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));
  const ShutdownReport report = server->shutdown(in(200ms));
  CHECK_FALSE(report.complete());
  CHECK(report.forced == 1);
  REQUIRE(report.running.size() == 1);
  CHECK(report.running[0].label == "GET /hold");
  CHECK(report.running[0].age >= 100ms);
  CHECK(report.running[0].tid > 0);
  CHECK(server.registry.find(report.running[0].task)->thread == report.running[0].tid);
  CHECK(client.closed_within(5s));
  server.gate.open();
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
}

TEST_CASE("a forced shutdown stops the handlers' tokens") {
  TestServer server;
  RawClient client = server.connect();
  client.send(get_request("/stop"));
  REQUIRE(eventually([&] { return server.stats().connections.handling == 1; }));
  (void)server->shutdown(in(50ms));
  CHECK(eventually([&] { return server.stopped == 1; }));
}

TEST_CASE("P4.7: shutdown and close before start, twice, from two threads") {
  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry(clock);
  auto server = http::Server::create(
      test_options(), [](auto&, auto&) {}, registry, sink, clock);
  REQUIRE(server.ok());
  CHECK((*server)->shutdown(in(1s)).complete());
  CHECK((*server)->shutdown(in(1s)).complete());
  (*server)->close();
  CHECK((*server)->start().error().code() == ErrorCode::kClosed);

  TestServer running;
  RawClient client = running.connect();
  client.send(get_request("/hello"));
  CHECK(client.read_response().status == 200);
  std::thread other([&] { (void)running->shutdown(in(5s)); });
  CHECK(running->shutdown(in(5s)).complete());
  other.join();
  running->close();
  running->close();
}

TEST_CASE("P4.7: shutdown from a handler does not wait for that handler") {
  std::atomic<http::Server*> self{nullptr};
  std::atomic<bool> complete{false};
  TestServer server(test_options(), [&](http::Router& router) {
    REQUIRE(router
                .handle("POST /quit",
                        [&](auto& response, auto&) {
                          complete = self.load()->shutdown(in(5s)).complete();
                          (void)response.write("bye");
                        })
                .ok());
  });
  self = server.server.get();
  RawClient idle = server.connect();
  idle.send(get_request("/hello"));
  CHECK(idle.read_response().status == 200);
  RawClient client = server.connect();
  client.send("POST /quit HTTP/1.1\r\nHost: x\r\n\r\n");
  const RawResponse response = client.read_response();
  CHECK(response.body == "bye");
  CHECK(response.header("connection") == "close");
  CHECK(complete);
  CHECK(idle.closed_within(5s));
}

TEST_CASE("close drops everything at once") {
  TestServer server;
  RawClient idle = server.connect();
  idle.send(get_request("/hello"));
  CHECK(idle.read_response().status == 200);
  RawClient busy = server.connect();
  busy.send(get_request("/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));
  server->close();
  CHECK(idle.closed_within(2s));
  CHECK(busy.closed_within(2s));
}

TEST_CASE("P4.5: under load, no accepted request is lost by a shutdown") {
  TestServer server;
  std::atomic<int> truncated{0};
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      RawClient client = server.connect();
      while (true) {
        if (!client.send(get_request("/big?n=50000"))) return;
        const RawResponse response = client.read_response();
        if (response.status == 0) return;  // closed between requests
        response.complete ? ++answered : ++truncated;
        if (response.header("connection") == "close") return;
      }
    });
  }
  CHECK(eventually([&] { return answered > 200; }));
  const ShutdownReport report = server->shutdown(in(10s));
  for (std::thread& client : clients) client.join();
  CHECK(truncated == 0);
  CHECK(report.complete());
}

TEST_CASE("P4.2: a connection that never spoke delays a shutdown by 5 s at most") {
  TestServer server;
  RawClient client = server.connect();
  REQUIRE(eventually([&] { return server.stats().connections.fresh == 1; }));
  const auto begin = std::chrono::steady_clock::now();
  const ShutdownReport report = server->shutdown(in(20s));
  CHECK(std::chrono::steady_clock::now() - begin < 8s);
  CHECK(report.complete());
  CHECK(client.closed_within(1s));
}
