// PUB-3: limits one before, at and one after, and the queue of requests. What the limits do to a connection is in concurrency_test.cc.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;
using Time = std::chrono::steady_clock;
using http::LimitPolicy;

namespace {

int status_of(RawClient& client, const std::string& target = "/hello") {
  client.send(get_request(target));
  return client.read_response().status;
}

std::vector<RawClient> open_connections(TestServer& server, int count) {
  std::vector<RawClient> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(server.connect());
    CHECK(status_of(clients.back()) == 200);
  }
  return clients;
}

// A server with one slot, which a request to /hold has.
struct OneSlot {
  explicit OneSlot(std::size_t max_queue, Duration timeout = 20s)
      : server(options(max_queue, timeout)) {}
  static http::ServerOptions options(std::size_t max_queue, Duration timeout) {
    http::ServerOptions options = test_options();
    options.max_in_flight = 1;
    options.max_queue = max_queue;
    options.queue_timeout = timeout;
    return options;
  }
  // A client whose request waits.
  RawClient queue(const std::string& request = get_request("/hello")) {
    const std::uint64_t before = server.stats().queue.entered;
    RawClient client = server.connect();
    client.send(request);
    REQUIRE(eventually([&] { return server.stats().queue.entered == before + 1; }));
    return client;
  }

  TestServer server;
  RawClient holder = server.connect_held();
};

http::ServerOptions pausing_at(std::size_t max_connections) {
  http::ServerOptions options = test_options();
  options.max_connections = max_connections;
  options.connection_policy = LimitPolicy::kPause;
  return options;
}

}  // namespace

TEST_CASE("P3.1 reject: one before and at the limit are served, one after gets 503 within 1 s") {
  auto options = test_options();
  options.max_connections = 3;
  TestServer server(options);
  std::vector<RawClient> open = open_connections(server, 3);
  const auto begin = Time::now();
  RawClient extra = server.connect();
  const RawResponse refused = extra.read_response();
  CHECK(refused.status == 503);
  CHECK(refused.header("retry-after") == "1");
  CHECK(refused.header("connection") == "close");
  CHECK(Time::now() - begin < 1s);
  for (RawClient& client : open) CHECK(status_of(client) == 200);
  CHECK(server.stats().limits_hit.connections == 1);
  const auto freed = Time::now();
  open.pop_back();
  CHECK(eventually([&] { return server.get("/hello") == "200 hello\n"; }));
  CHECK(Time::now() - freed < 2s);
}

TEST_CASE("P3.1 pause: the one after waits in the backlog and is served when a place is free") {
  TestServer server(pausing_at(2));
  std::vector<RawClient> open = open_connections(server, 2);
  RawClient waiting = server.connect();
  CHECK(waiting.connected());
  waiting.send(get_request("/hello"));
  REQUIRE(eventually([&] { return server.stats().limits_hit.accept_pauses >= 1; }));
  CHECK_FALSE(waiting.receive(300ms));
  CHECK(server.stats().accepted == 2);
  for (RawClient& client : open) CHECK(status_of(client) == 200);

  const auto freed = Time::now();
  open.pop_back();
  CHECK(waiting.read_response().status == 200);
  CHECK(Time::now() - freed < 500ms);  // woken by the close, not by the look once a second
  CHECK(server.stats().limits_hit.connections == 0);
  CHECK(server.stats().accepted == 3);
}

TEST_CASE(
    "P3.1 pause: clients beyond the limit are all served in the end, never too many at once") {
  TestServer server(pausing_at(4));
  std::atomic<int> good{0};
  std::atomic<std::uint64_t> most{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 12; ++i) {
    clients.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        RawClient client = server.connect();
        client.send(get_request("/hello", "Connection: close\r\n"));
        good += client.read_response().status == 200;
        const std::uint64_t open = server.stats().connections.open();
        std::uint64_t seen = most;
        while (seen < open && !most.compare_exchange_weak(seen, open)) {
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  CHECK(good == 240);
  // The gauges are read one after the other: a connection that changes its state meanwhile may be
  // seen twice.
  CHECK(most <= 8);
}

TEST_CASE("a paused server shuts down at once") {
  TestServer server(pausing_at(1));
  std::vector<RawClient> open = open_connections(server, 1);
  RawClient waiting = server.connect();
  REQUIRE(eventually([&] { return server.stats().limits_hit.accept_pauses >= 1; }));
  const auto begin = Time::now();
  CHECK(server->shutdown(server.clock.now() + 10s).complete());
  CHECK(Time::now() - begin < 1s);
  CHECK(waiting.closed_within(1s));
}

TEST_CASE("P3.2: of one address, one before and at the limit are served, one after is refused") {
  auto options = test_options();
  options.max_connections_per_ip = 2;
  TestServer server(options);
  std::vector<RawClient> open = open_connections(server, 2);
  RawClient extra = server.connect();
  CHECK(extra.read_response().status == 503);
  RawClient elsewhere(server->endpoint(), 0, "127.0.0.2");
  CHECK(status_of(elsewhere) == 200);
  CHECK(server.stats().limits_hit.connections_per_ip == 1);
  open.clear();
  CHECK(eventually([&] { return server.get("/hello") == "200 hello\n"; }));
}

TEST_CASE("P3.3: K slots and 4K slow requests give at least K answers, the excess 503 in 0.5 s") {
  constexpr int kSlots = 4;
  auto options = test_options();
  options.max_in_flight = kSlots;
  TestServer server(options);
  std::vector<RawClient> slow;
  for (int i = 0; i < kSlots; ++i) {
    slow.push_back(server.connect());
    slow.back().send(get_request("/hold"));
  }
  REQUIRE(eventually([&] { return server.gate.waiting() == kSlots; }));
  for (int i = 0; i < 3 * kSlots; ++i) {
    RawClient client = server.connect();
    const auto begin = Time::now();
    client.send(get_request("/hold"));
    const RawResponse response = client.read_response();
    CHECK(response.status == 503);
    CHECK(response.header("retry-after") == "1");
    CHECK(Time::now() - begin < 500ms);
  }
  server.gate.open();
  for (RawClient& client : slow) CHECK(client.read_response().status == 200);
  CHECK(server.stats().limits_hit.in_flight == 3 * kSlots);
}

TEST_CASE("P3.3: the queue takes as many as it may, the next one is refused, and slots free it") {
  OneSlot slot(2);
  RawClient first = slot.queue();
  RawClient second = slot.queue("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
  CHECK(slot.server.stats().connections.queued == 2);
  RawClient third = slot.server.connect();
  CHECK(status_of(third) == 503);
  CHECK(slot.server.stats().limits_hit.in_flight == 1);
  CHECK(slot.server.registry.counters().live == 1);

  slot.server.gate.open();
  CHECK(slot.holder.read_response().status == 200);
  CHECK(first.read_response().body == "hello\n");
  CHECK(second.read_response().body == "hello");
  for (RawClient* client : {&first, &second, &third}) CHECK(status_of(*client) == 200);
  CHECK(slot.server.stats().queue.waited > Duration(0));
  CHECK(slot.server.stats().queue.timed_out == 0);
  CHECK(slot.server.stats().connections.queued == 0);
  CHECK(slot.server.stats().requests == 7);
}

TEST_CASE("P3.3: requests wait without a thread") {
  OneSlot slot(100);
  const std::uint64_t threads = slot.server.stats().threads_now;
  std::vector<RawClient> waiting;
  for (int i = 0; i < 100; ++i) waiting.push_back(slot.queue());
  CHECK(slot.server.stats().threads_now <= threads + 1);
  slot.server.gate.open();
  int served = 0;
  for (RawClient& client : waiting) served += client.read_response().status == 200;
  CHECK(served == 100);
}

TEST_CASE("P3.3: a wait that is over gives 503 and keeps the connection") {
  OneSlot slot(4, 300ms);
  const auto begin = Time::now();
  RawClient client = slot.queue();
  const RawResponse response = client.read_response();
  const auto took = Time::now() - begin;
  CHECK(response.status == 503);
  CHECK(response.header("retry-after") == "1");
  CHECK(response.header("connection").empty());
  CHECK(took >= 300ms);
  CHECK(took < 1300ms);
  CHECK(slot.server.stats().queue.timed_out == 1);
  CHECK(slot.server.stats().queue.waited >= 300ms);
  slot.server.gate.open();
  CHECK(slot.holder.read_response().status == 200);
  CHECK(status_of(client) == 200);
}

TEST_CASE("P3.3: a client that goes away while it waits gives its place to the next") {
  OneSlot slot(1);
  { RawClient gone = slot.queue(); }
  REQUIRE(eventually([&] { return slot.server.stats().queue.abandoned == 1; }));
  RawClient next = slot.queue();
  slot.server.gate.open();
  CHECK(next.read_response().status == 200);
  CHECK(slot.server.stats().requests == 3);
}

TEST_CASE("P3.3: pipelined requests wait in their order, their bodies too") {
  OneSlot slot(4);
  RawClient client =
      slot.queue(get_request("/hello") +
                 "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\nabc\r\n0\r\n\r\n" +
                 get_request("/hello"));
  slot.server.gate.open();
  CHECK(client.read_response().body == "hello\n");
  CHECK(client.read_response().body == "abc");
  CHECK(client.read_response().body == "hello\n");
}

TEST_CASE("P3.3: a body that is still on its way is read after the wait") {
  OneSlot slot(4);
  RawClient client =
      slot.queue("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nfirst");
  client.send(std::string(100'000 - 5, 'x'));
  slot.server.gate.open();
  const RawResponse response = client.read_response();
  CHECK(response.status == 200);
  CHECK(response.body == "first" + std::string(100'000 - 5, 'x'));
}

TEST_CASE("P3.3: many clients through a narrow queue: all are answered, and no slot is lost") {
  auto options = test_options();
  options.max_in_flight = 2;
  options.max_queue = 4;
  options.queue_timeout = 20ms;
  TestServer server(options, [](http::Router& router) {
    add(router, "GET /nap", [](auto& response, auto&) {
      std::this_thread::sleep_for(2ms);
      (void)response.write("nap");
    });
  });
  std::atomic<int> good{0};
  std::atomic<int> refused{0};
  std::atomic<int> other{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 12; ++i) {
    clients.emplace_back([&, i] {
      for (int round = 0; round < 60; ++round) {
        RawClient client = server.connect();
        for (int request = 0; request < 3; ++request) {
          client.send(get_request(request == 1 ? "/hello" : "/nap"));
          if ((i + round) % 7 == 0 && request == 2) break;  // goes away without its answer
          const int status = client.read_response().status;
          (status == 200 ? good : status == 503 ? refused : other) += 1;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  CHECK(other == 0);
  CHECK(good > 0);
  CHECK(refused > 0);
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  // Both slots are there: two requests that wait for each other's end get in.
  RawClient first = server.connect();
  RawClient second = server.connect();
  first.send(get_request("/hold"));
  second.send(get_request("/hold"));
  CHECK(eventually([&] { return server.gate.waiting() == 2; }));
  server.gate.open();
  CHECK(first.read_response().status == 200);
  CHECK(second.read_response().status == 200);
}

TEST_CASE("a shutdown serves the requests that wait, a forced one drops them") {
  SECTION("served") {
    OneSlot slot(4);
    RawClient client = slot.queue();
    Shutdown stopping(*slot.server, in(20s));
    const bool refused = eventually([&] { return !slot.server.connect().connected(); });
    slot.server.gate.open();
    const RawResponse response = client.read_response();
    client.close();
    slot.holder.close();
    const http::ShutdownReport report = stopping.wait();
    CHECK(refused);
    CHECK(response.status == 200);
    CHECK(response.header("connection") == "close");
    CHECK(report.complete());
    CHECK(report.drained == 2);
  }
  SECTION("dropped") {
    OneSlot slot(4);
    RawClient client = slot.queue();
    const http::ShutdownReport report = slot.server->shutdown(in(100ms));
    CHECK(client.closed_within(1s));
    CHECK(report.forced == 2);
    CHECK(report.running.size() == 1);
  }
}

TEST_CASE("max_requests_per_connection: the last one says Connection: close, and is the last") {
  auto options = test_options();
  options.max_requests_per_connection = 3;
  TestServer server(options);
  RawClient client = server.connect();
  for (int i = 0; i < 4; ++i) client.send(get_request("/hello"));
  for (int i = 1; i <= 3; ++i) {
    const RawResponse response = client.read_response();
    CHECK(response.status == 200);
    CHECK(response.header("connection") == (i == 3 ? "close" : ""));
  }
  CHECK(client.closed_within(5s));
  CHECK(server.stats().requests == 3);
}

TEST_CASE("options of the queue that cannot mean anything are refused by name") {
  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry(clock);
  const auto error_of = [&](http::ServerOptions options) {
    auto server = http::Server::create(
        options, [](auto&, auto&) {}, registry, sink, clock);
    return server.ok() ? std::string() : server.error().message();
  };
  auto options = test_options();
  options.max_queue = 1;
  CHECK(error_of(options).find("max_queue") != std::string::npos);
  options.max_in_flight = 1;
  CHECK(error_of(options).empty());
  options.queue_timeout = 0s;
  CHECK(error_of(options).find("queue_timeout") != std::string::npos);
}
