// Handlers that block, handlers that suddenly do, limits, and clients that go away.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil::test;
using Clock = std::chrono::steady_clock;

TEST_CASE("200 blocked handlers do not delay another route") {
  TestServer server;
  std::vector<RawClient> stuck;
  for (int i = 0; i < 200; ++i) {
    stuck.push_back(server.connect());
    REQUIRE(stuck.back().send(get_request("/hold")));
  }
  REQUIRE(eventually([&] { return server.gate.waiting() == 200; }));
  CHECK(server.registry.counters().live == 200);
  const auto begin = Clock::now();
  for (int i = 0; i < 100; ++i) REQUIRE(server.get("/hello") == "200 hello\n");
  CHECK(Clock::now() - begin < 5s);
  server.gate.open();
  int released = 0;
  for (RawClient& client : stuck) released += client.read_response().body == "released\n";
  CHECK(released == 200);
  CHECK(server.registry.counters().live == 0);
}

// Until GET /turns is trusted: a busy machine may end a streak now and then.
bool comes_to_run_inline(TestServer& server, RawClient& client) {
  return eventually([&] {
    const auto before = server.stats().ran_inline;
    client.send(get_request("/turns"));
    return client.read_response().status == 200 && server.stats().ran_inline > before;
  });
}

TEST_CASE("a route that ran inline and suddenly blocks is rescued, and others go on") {
  auto options = test_options();
  options.pollers = 1;
  std::atomic<bool> blocks{false};
  Gate gate;
  TestServer server(options, [&](vigil::http::Router& router) {
    add(router, "GET /turns", [&](auto& response, auto&) {
      if (blocks) gate.wait();
      (void)response.write("done");
    });
  });
  RawClient other = server.connect_idle();
  RawClient client = server.connect();
  REQUIRE(comes_to_run_inline(server, client));
  blocks = true;
  client.send(get_request("/turns"));
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  const auto begin = Clock::now();
  other.send(get_request("/hello"));
  CHECK(other.read_response().status == 200);
  CHECK(Clock::now() - begin < 1s);
  // Counted by the monitor after the follower has been sent off.
  CHECK(eventually([&] { return server.stats().rescued >= 1; }));
  // Once demoted, it is handed over before it runs.
  RawClient third = server.connect();
  third.send(get_request("/turns"));
  REQUIRE(eventually([&] { return gate.waiting() == 2; }));
  gate.open();
  CHECK(client.read_response().body == "done");
  CHECK(third.read_response().body == "done");
  client.send(get_request("/hello"));
  CHECK(client.read_response().status == 200);
}

TEST_CASE("a route that ran inline and suddenly computes is rescued too") {
  auto options = test_options();
  options.pollers = 1;
  std::atomic<bool> computes{false};
  std::atomic<bool> computing{false};
  TestServer server(options, [&](vigil::http::Router& router) {
    REQUIRE(router
                .handle("GET /turns",
                        [&](auto& response, auto&) {
                          while (computes) computing = true;
                          (void)response.write("done");
                        })
                .ok());
  });
  RawClient other = server.connect();
  RawClient client = server.connect();
  REQUIRE(comes_to_run_inline(server, client));
  computes = true;
  client.send(get_request("/turns"));
  REQUIRE(eventually([&] { return computing.load(); }));
  other.send(get_request("/hello"));
  CHECK(other.read_response().status == 200);
  CHECK(eventually([&] { return server.stats().rescued >= 1; }));
  computes = false;
  CHECK(client.read_response().body == "done");
}

TEST_CASE("requests are answered with 503, not stalled, when no thread is left") {
  auto options = test_options();
  options.pollers = 1;
  options.max_threads = 3;
  TestServer server(options);
  std::vector<RawClient> stuck;
  for (int i = 0; i < 2; ++i) {
    stuck.push_back(server.connect());
    stuck.back().send(get_request("/hold"));
  }
  REQUIRE(eventually([&] { return server.gate.waiting() == 2; }));
  RawClient client = server.connect();
  client.send(get_request("/hold"));
  const RawResponse response = client.read_response();
  CHECK(response.status == 503);
  CHECK(response.header("retry-after") == "1");
  CHECK(server.stats().limits_hit.threads >= 1);
  server.gate.open();
  for (RawClient& each : stuck) CHECK(each.read_response().status == 200);
  CHECK(eventually([&] { return server.get("/hello") == "200 hello\n"; }));
}

TEST_CASE("P3.1: the connection over the limit gets 503, a freed place is usable") {
  auto options = test_options();
  options.max_connections = 2;
  TestServer server(options);
  RawClient first = server.connect();
  {
    RawClient second = server.connect();
    for (RawClient* client : {&first, &second}) {
      client->send(get_request("/hello"));
      CHECK(client->read_response().status == 200);
    }
    RawClient third = server.connect();
    third.send(get_request("/hello"));
    const RawResponse response = third.read_response();
    CHECK(response.status == 503);
    CHECK(response.header("retry-after") == "1");
    CHECK(third.closed_within(5s));
    CHECK(server.stats().limits_hit.connections == 1);
  }
  CHECK(eventually([&] { return server.get("/hello") == "200 hello\n"; }));
  first.send(get_request("/hello"));
  CHECK(first.read_response().status == 200);
}

TEST_CASE("P3.2: connections of one address are limited, another address is served") {
  auto options = test_options();
  options.max_connections_per_ip = 1;
  TestServer server(options);
  RawClient first = server.connect_idle();
  RawClient second = server.connect();
  second.send(get_request("/hello"));
  CHECK(second.read_response().status == 503);
  RawClient elsewhere(server->endpoint(), 0, "127.0.0.2");
  elsewhere.send(get_request("/hello"));
  CHECK(elsewhere.read_response().status == 200);
  CHECK(server.stats().limits_hit.connections_per_ip == 1);
}

TEST_CASE("P3.3: the request over max_in_flight gets 503 at once and keeps its connection") {
  auto options = test_options();
  options.max_in_flight = 1;
  TestServer server(options);
  RawClient holder = server.connect_held();
  RawClient client = server.connect();
  client.send(get_request("/hello"));
  const RawResponse response = client.read_response();
  CHECK(response.status == 503);
  CHECK(response.header("retry-after") == "1");
  server.gate.open();
  CHECK(holder.read_response().status == 200);
  CHECK(eventually([&] {
    client.send(get_request("/hello"));
    return client.read_response().status == 200;
  }));
}

TEST_CASE("P0: a client that goes away stops its request") {
  TestServer server;
  RawClient client = server.connect();
  client.send(get_request("/stop"));
  REQUIRE(eventually([&] { return server.stats().connections.handling == 1; }));
  CHECK(server.stopped == 0);
  const auto begin = Clock::now();
  client.close();
  CHECK(eventually([&] { return server.stopped == 1; }));
  CHECK(Clock::now() - begin < 1s);
}

TEST_CASE(
    "a client that closes its sending side with the request counts as gone, but gets its answer") {
  TestServer server;
  RawClient client = server.connect();
  client.send(get_request("/stop"));
  client.half_close();
  CHECK(client.read_response().body == "stopped\n");
  CHECK(server.stopped == 1);
}

TEST_CASE("many clients at once on fast, blocking and streaming routes") {
  TestServer server;
  std::atomic<int> good{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      RawClient client = server.connect();
      for (int round = 0; round < 200; ++round) {
        const int kind = (i + round) % 4;
        if (kind == 0) client.send(get_request("/hello"));
        if (kind == 1) client.send(get_request("/big?n=50000"));
        if (kind == 2)
          client.send(
              "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
              "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        if (kind == 3) client.send(get_request("/throw"));
        const RawResponse response = client.read_response();
        const std::size_t sizes[] = {6, 50'000, 3, 22};
        good += response.complete && response.body.size() == sizes[kind];
      }
    });
  }
  for (std::thread& client : clients) client.join();
  CHECK(good == 8 * 200);
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
}

TEST_CASE("threads beyond the idle ones that are kept end when they had nothing to do for 5 s") {
  auto options = test_options();
  options.pollers = 1;
  options.idle_threads_max = 2;
  TestServer server(options);
  const auto burst = [&] {
    std::vector<RawClient> clients;
    for (int i = 0; i < 20; ++i) {
      clients.push_back(server.connect());
      clients.back().send(get_request("/hold"));
    }
    const bool all_in = eventually([&] { return server.gate.waiting() == 20; });
    server.gate.open();
    int released = 0;
    for (RawClient& client : clients) released += client.read_response().status == 200;
    server.gate.close();
    return all_in && released == 20;
  };
  const auto threads = [&] { return server.stats().threads_now; };
  CHECK(burst());
  const std::uint64_t after_first = threads();
  CHECK(after_first >= 20);
  CHECK(burst());
  CHECK(threads() <= after_first + 1);  // they were used again
  const auto begin = Clock::now();
  CHECK(eventually([&] { return threads() <= 4; }));  // the leader, and those that are kept
  CHECK(Clock::now() - begin > 4s);
}
