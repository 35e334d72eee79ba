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
  RawClient idle = server.connect_idle();
  RawClient busy = server.connect_held();

  Shutdown stopping(*server, in(20s));
  const bool idle_closed = idle.closed_within(5s);
  const bool refused = eventually([&] { return !server.connect().connected(); });
  server.gate.open();
  const RawResponse response = busy.read_response();
  const bool busy_closed = busy.closed_within(5s);
  busy.close();
  const ShutdownReport report = stopping.wait();
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
  RawClient client = server.connect_held();
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
  BareServer server;
  CHECK(server->shutdown(in(1s)).complete());
  CHECK(server->shutdown(in(1s)).complete());
  server->close();
  CHECK(server->start().error().code() == ErrorCode::kClosed);

  TestServer running;
  RawClient client = running.connect_idle();
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
    add(router, "POST /quit", [&](auto& response, auto&) {
      complete = self.load()->shutdown(in(5s)).complete();
      (void)response.write("bye");
    });
  });
  self = server.server.get();
  RawClient idle = server.connect_idle();
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
  RawClient idle = server.connect_idle();
  RawClient busy = server.connect_held();
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

TEST_CASE("P4.1: the listener is closed within 100 ms of shutdown, with a request in flight") {
  TestServer server;
  RawClient busy = server.connect_held();
  const auto begin = std::chrono::steady_clock::now();
  Shutdown stopping(*server, in(20s));
  const bool refused = eventually([&] { return !server.connect().connected(); });
  const auto took = std::chrono::steady_clock::now() - begin;
  server.gate.open();
  CHECK(busy.read_response().status == 200);
  busy.close();
  (void)stopping.wait();
  CHECK(refused);
  CHECK(took < 100ms);
}

TEST_CASE("P4.2: a half-sent request is served whole if it comes, and closed silently if not") {
  TestServer server;
  RawClient late = server.connect();
  late.send("GET /hello HTTP/1.1\r\nHost:");
  RawClient never = server.connect();
  never.send("GET /hello HTTP/1.1\r\nHost:");
  REQUIRE(eventually([&] { return server.stats().connections.reading_head == 2; }));
  const auto begin = std::chrono::steady_clock::now();
  Shutdown stopping(*server, in(20s));
  const bool refused = eventually([&] { return !server.connect().connected(); });
  late.send(" x\r\n\r\n");
  const RawResponse response = late.read_response();
  const bool silent = never.closed_within(8s);
  const ShutdownReport report = stopping.wait();
  CHECK(refused);
  CHECK(response.status == 200);
  CHECK(response.header("connection") == "close");
  CHECK(silent);
  CHECK(std::chrono::steady_clock::now() - begin < 8s);
  CHECK(report.complete());
}

TEST_CASE("P4.4: a request that is pipelined after the shutdown has begun is not served") {
  TestServer server;
  RawClient client = server.connect_held();
  Shutdown stopping(*server, in(20s));
  const bool refused = eventually([&] { return !server.connect().connected(); });
  client.send(get_request("/hello"));
  server.gate.open();
  const RawResponse response = client.read_response();
  const bool closed = client.closed_within(5s);
  client.close();
  (void)stopping.wait();
  CHECK(refused);
  CHECK(response.body == "released\n");
  CHECK(response.header("connection") == "close");
  CHECK(closed);
  CHECK(server.stats().requests == 1);
}

TEST_CASE("P4.5: an answer of 48 MiB in flight arrives whole") {
  constexpr std::size_t kBytes = 48 << 20;
  TestServer server;
  RawClient client = server.connect();
  client.send(get_request("/big?n=" + std::to_string(kBytes)));
  REQUIRE(eventually([&] { return server.stats().bytes_sent > 0; }));
  Shutdown stopping(*server, in(20s));
  const bool refused = eventually([&] { return !server.connect().connected(); });
  const RawResponse response = client.read_response();
  client.close();
  const ShutdownReport report = stopping.wait();
  CHECK(refused);
  CHECK(response.complete);
  CHECK(response.body.size() == kBytes);
  CHECK(report.complete());
}

TEST_CASE("P4.7: close takes less than 200 ms, whatever the connections do") {
  TestServer server;
  RawClient idle = server.connect_idle();
  RawClient fresh = server.connect();
  RawClient half = server.connect();
  half.send("GET /");
  RawClient unread(server->endpoint(), 4096);
  unread.send(get_request("/big?n=50000000"));
  RawClient busy = server.connect();
  busy.send(get_request("/hold"));
  RawClient waiting = server.connect();
  waiting.send(get_request("/stop"));
  REQUIRE(eventually([&] {
    const auto now = server.stats().connections;
    return now.handling == 3 && now.idle == 1 && now.fresh == 1 && now.reading_head == 1;
  }));
  const auto begin = std::chrono::steady_clock::now();
  server->close();
  // Only the handler that does not look at its token is left.
  CHECK(eventually([&] { return server.stats().connections.open() == 1; }));
  CHECK(std::chrono::steady_clock::now() - begin < 200ms);
  CHECK(server.stopped == 1);
  CHECK(idle.closed_within(1s));
  CHECK(fresh.closed_within(1s));
  CHECK(half.closed_within(1s));
}

TEST_CASE("P4.7: shutdown and close while start runs") {
  for (int round = 0; round < 40; ++round) {
    BareServer server;
    std::atomic<int> ready{0};
    const auto at_once = [&](auto&& work) {
      ++ready;
      while (ready < 3) std::this_thread::yield();
      work();
    };
    bool started = false;
    bool drained = false;
    std::thread starter([&] { at_once([&] { started = server->start().ok(); }); });
    std::thread stopper([&] { at_once([&] { drained = server->shutdown(in(5s)).complete(); }); });
    at_once([&] {
      if (round % 2 == 0) server->close();
    });
    starter.join();
    stopper.join();
    CHECK(drained);
    CHECK_FALSE(server->start().ok());
    CHECK_FALSE(server.connect().connected());
  }
}

TEST_CASE("P4.7: shutdown from two handlers at once") {
  std::atomic<http::Server*> self{nullptr};
  std::atomic<int> returned{0};
  TestServer server(test_options(), [&](http::Router& router) {
    add(router, "GET /quit", [&](auto& response, auto&) {
      (void)self.load()->shutdown(in(500ms));
      ++returned;
      (void)response.write("bye");
    });
  });
  self = server.server.get();
  RawClient first = server.connect();
  RawClient second = server.connect();
  first.send(get_request("/quit"));
  second.send(get_request("/quit"));
  // Each waits for the other's request, until the deadline; then neither does.
  CHECK(eventually([&] { return returned == 2; }));
  CHECK(first.closed_within(5s));
  CHECK(second.closed_within(5s));
}

TEST_CASE("serve starts, and returns server_closed when the shutdown has done its work") {
  Gate gate;
  BareServer server([&](auto&, auto&) { gate.wait(); });
  std::atomic<int> served{0};
  const auto serve = [&] {
    const auto end = server->serve();
    served += end.ok() && *end == http::ServeEnd::kServerClosed;
  };
  std::thread first(serve);
  std::thread second(serve);
  RawClient client = server.connect();
  client.send(get_request("/"));
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  Shutdown stopping(*server.server, in(20s));
  const bool refused = eventually([&] { return !server.connect().connected(); });
  const int before = served;
  gate.open();
  const int status = client.read_response().status;
  client.close();
  (void)stopping.wait();
  first.join();
  second.join();
  CHECK(refused);
  CHECK(before == 0);
  CHECK(status == 200);
  CHECK(served == 2);
  serve();
  CHECK(served == 3);
}

TEST_CASE("serve returns server_closed after close too") {
  BareServer server;
  std::atomic<bool> served{false};
  std::thread serving([&] { served = server->serve().ok(); });
  server->close();
  serving.join();
  CHECK(served);
}

TEST_CASE("shutdown hooks run once, before requests are waited for, in their order") {
  TestServer server;
  std::string order;
  server->register_on_shutdown([&] { order += "1"; });
  server->register_on_shutdown([] { throw std::runtime_error("a hook's own trouble"); });
  server->register_on_shutdown([&] {
    order += "2";
    server.gate.open();  // without this, the handler would never end
  });
  RawClient client = server.connect_held();
  client.half_close();
  CHECK(server->shutdown(in(10s)).complete());
  CHECK(client.read_response().status == 200);
  CHECK(order == "12");
  CHECK(server.sink.saw("a hook's own trouble"));
  server->register_on_shutdown([&] { order += "3"; });
  CHECK(server->shutdown(in(1s)).complete());
  CHECK(order == "12");
}

TEST_CASE("without keep-alives idle connections close, and so does each response") {
  TestServer server;
  RawClient idle = server.connect_idle();
  RawClient busy = server.connect_held();
  server->set_keep_alives(http::KeepAlives::kDisabled);
  CHECK(idle.closed_within(5s));
  RawClient fresh = server.connect();
  fresh.send(get_request("/hello"));
  CHECK(fresh.read_response().header("connection") == "close");
  CHECK(fresh.closed_within(5s));
  server->set_keep_alives(http::KeepAlives::kEnabled);
  server.gate.open();
  CHECK(busy.read_response().header("connection").empty());
  busy.send(get_request("/hello"));
  CHECK(busy.read_response().status == 200);
}
