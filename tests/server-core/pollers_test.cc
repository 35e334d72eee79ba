// Pollers are used as they are needed: which one has which connection, on real sockets. What is decided from
// which figures is in poller_balance_test.cc.
#include <atomic>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "server-core/poller_balance.h"
#include "tests/server-core/http2_server.h"
#include "tests/server-core/test_server.h"
#include "tests/server-core/tls_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

// How many processors the servers of a test take for idle, and how often they have asked.
struct Machine {
  std::atomic<double> spare{0};
  std::atomic<int> asked{0};

  // "Asked" for so many windows more: decisions have been made since. To be waited for between two listings,
  // while which nothing moves.
  bool decides(int windows) {
    const int before = asked.load();
    return eventually([&] { return asked.load() >= before + windows; });
  }
};

ServerOptions with_pollers(std::size_t pollers, Machine& machine) {
  ServerOptions options = h2_options();
  options.pollers = pollers;
  options.max_header_bytes = 1024 * 1024;  // Load's
  options.max_header_fields = 10'000;
  options.spare_processors = [&machine] {
    machine.asked += 1;
    return machine.spare.load();
  };
  return options;
}

// GET /say?what=… gives that back.
void add_say(Router& router) {
  add(router, "GET /say", [](ResponseWriter& response, Request& request) {
    (void)response.write(request.query("what").value_or(""));
  });
}

// How many connections each poller has.
std::map<std::size_t, int> by_poller(TestServer& server) {
  std::map<std::size_t, int> counts;
  for (const ConnectionInfo& each : server->connections(10'000, in(10s)).connections) {
    ++counts[each.poller];
  }
  return counts;
}

// One request, served.
bool served(RawClient& client) {
  return client.send(get_request("/hello")) && client.read_response().status == 200;
}

// Connections that give a poller more to do than it can, whether handlers run on its thread or not: each
// sends one request with a very long head after the other, and looks at every answer.
class Load {
 public:
  using Connect = std::function<std::unique_ptr<RawClient>()>;

  Load(std::size_t connections, const Connect& connect) {
    for (std::size_t i = 0; i < connections; ++i) clients_.push_back(connect());
    for (const auto& client : clients_) threads_.emplace_back([this, &client] { run(*client); });
  }
  Load(std::size_t connections, TestServer& server)
      : Load(connections, [&] { return std::make_unique<RawClient>(server->endpoint()); }) {}
  ~Load() { stop(); }

  // "" if every request had its answer, else what came instead. Connections on which all went well stay
  // open.
  std::string stop() {
    stopping_ = true;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    const std::lock_guard lock(mutex_);
    return failures_;
  }
  int answers() const { return answers_; }

 private:
  void run(RawClient& client) {
    // In two parts: making the whole anew would take the client as long as reading takes the server.
    std::string fields;
    for (int i = 0; i < kFields; ++i) fields += "X-" + std::to_string(i) + ": " + kValue + "\r\n";
    fields += "\r\n";
    for (int number = 0; !stopping_; ++number) {
      const std::string word = std::to_string(number);
      client.send("GET /say?what=" + word + " HTTP/1.1\r\nHost: x\r\n");
      client.send(fields);
      const RawResponse response = client.read_response();
      if (response.status != 200 || response.body != word) {
        fail(std::to_string(response.status) + " " + response.body);
        return client.close();
      }
      ++answers_;
    }
  }
  void fail(const std::string& what) {
    const std::lock_guard lock(mutex_);
    failures_ += what + "; ";
  }

  static constexpr int kFields = 4000;
  static constexpr const char* kValue = "0123456789abcdefghijklmnopqrstuvwxyz";

  std::vector<std::unique_ptr<RawClient>> clients_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> answers_{0};
  std::mutex mutex_;
  std::string failures_;  // guarded by mutex_
};

}  // namespace

TEST_CASE("newcomers fill the first poller while it is not busy") {
  Machine machine{.spare = 8};
  TestServer server(with_pollers(4, machine));
  std::vector<RawClient> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(server.connect_idle());
  CHECK(by_poller(server) == std::map<std::size_t, int>{{0, 20}});
}

TEST_CASE("newcomers go to another poller when the first is busy and processors are idle") {
  Machine machine{.spare = 1};
  TestServer server(with_pollers(2, machine), add_say);
  Load load(4, server);
  // Silent ones: they do not move later on, for want of an event.
  const auto one_is_there = [&] {
    for (const ConnectionInfo& each : server->connections(100, in(10s)).connections) {
      if (each.state == "fresh" && each.poller == 1) return true;
    }
    return false;
  };
  CHECK(eventually([&] {
    const RawClient newcomer = server.connect();
    return one_is_there();
  }));
  CHECK(load.stop() == "");
}

TEST_CASE("without idle processors one poller keeps everything") {
  Machine machine{.spare = PollerBalance::kSpareMin / 2};
  TestServer server(with_pollers(2, machine), add_say);
  std::vector<RawClient> clients;
  {
    Load load(4, server);
    for (int i = 0; i < 10; ++i) {
      REQUIRE(machine.decides(1));
      clients.push_back(server.connect_idle());
    }
    CHECK(by_poller(server) == std::map<std::size_t, int>{{0, 14}});
    CHECK(load.stop() == "");
  }
  CHECK(server.stats().connections_moved == 0);
}

TEST_CASE("a poller that is full passes connections on, and no request is lost") {
  Machine machine{.spare = 1};
  TestServer server(with_pollers(2, machine), add_say);
  Load load(8, server);
  CHECK(eventually([&] { return server.stats().connections_moved > 0; }));
  const int answers = load.answers();
  CHECK(eventually([&] { return load.answers() > answers + 100; }));
  CHECK(load.stop() == "");
  auto counts = by_poller(server);
  CHECK(counts[0] > 0);
  CHECK(counts[1] > 0);
  CHECK(counts[0] + counts[1] == 8);
}

TEST_CASE("connections without work stay where they are when others move") {
  Machine machine;
  TestServer server(with_pollers(2, machine), add_say);
  std::vector<RawClient> resting;
  for (int i = 0; i < 50; ++i) resting.push_back(server.connect_idle());
  Load load(8, server);
  machine.spare = 1;
  REQUIRE(eventually([&] { return server.stats().connections_moved > 0; }));
  CHECK(load.stop() == "");
  CHECK(by_poller(server)[0] >= 51);
  for (RawClient& client : resting) CHECK(served(client));
}

TEST_CASE("the only connection that has work does not move") {
  Machine machine{.spare = 4};
  TestServer server(with_pollers(4, machine), add_say);
  Load load(1, server);
  REQUIRE(machine.decides(10));
  CHECK(load.stop() == "");
  CHECK(server.stats().connections_moved == 0);
}

TEST_CASE("a load is spread over as many pollers as it fills") {
  Machine machine{.spare = 4};
  TestServer server(with_pollers(4, machine), add_say);
  Load load(16, server);
  CHECK(eventually([&] { return machine.decides(1) && by_poller(server).size() == 4; }));
  CHECK(load.stop() == "");
}

TEST_CASE("HTTP/2: a connection moves with its streams, one of them in a handler") {
  Machine machine;
  TestServer server(with_pollers(2, machine), add_say);
  // Each with a stream that is held in a handler, so another thread has it.
  std::deque<Http2Client> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back(server.connect());
    REQUIRE(clients.back().get(1, "/hello") == "200 hello\n");
    clients.back().send(h2::get(3, "/hold"));
  }
  REQUIRE(eventually([&] { return server.gate.waiting() == 8; }));
  Load load(2, server);
  machine.spare = 1;
  const auto moved = [&] {
    int count = 0;
    for (const ConnectionInfo& each : server->connections(100, in(10s)).connections) {
      if (each.state == "multiplexed" && each.poller == 1) ++count;
    }
    return count > 0;
  };
  std::uint32_t stream = 5;
  bool all_answered = true;
  CHECK(eventually([&] {
    for (Http2Client& client : clients) {
      all_answered = all_answered && client.get(stream, "/hello") == "200 hello\n";
    }
    stream += 2;
    return machine.decides(1) && moved();
  }));
  CHECK(all_answered);
  server.gate.open();
  for (Http2Client& client : clients) {
    REQUIRE(client.answered(3));
    CHECK(client.reader.response(3).status == 200);
    CHECK(client.get(stream, "/hello") == "200 hello\n");
  }
  CHECK(load.stop() == "");
}

TEST_CASE("TLS: connections move with what their channels have kept") {
  Machine machine{.spare = 1};
  TlsServer server({.server =
                        [&](ServerOptions& options) {
                          const auto tls = options.tls;
                          options = with_pollers(2, machine);
                          options.tls = tls;
                        },
                    .add = add_say});
  Load load(8, [&] { return std::make_unique<TlsClient>((*server.server)->endpoint()); });
  CHECK(eventually([&] { return server.stats().connections_moved > 0; }));
  const int answers = load.answers();
  CHECK(eventually([&] { return load.answers() > answers + 100; }));
  CHECK(load.stop() == "");
}

TEST_CASE("a connection that moves changes no state, and keeps its place in the limits") {
  Machine machine{.spare = 1};
  ServerOptions options = with_pollers(2, machine);
  options.max_connections_per_ip = 9;
  std::mutex mutex;
  std::map<std::uint64_t, std::string> stories;
  options.conn_state = [&](const ConnInfo& connection, ConnState state) {
    const std::lock_guard lock(mutex);
    stories[connection.id] += conn_state_name(state)[0];
  };
  TestServer server(options, add_say);
  {
    Load load(8, server);
    REQUIRE(eventually([&] { return server.stats().connections_moved > 0; }));
    CHECK(load.stop() == "");
    RawClient last = server.connect_idle();
    RawClient one_too_many = server.connect();
    CHECK(one_too_many.read_response().status == 503);
  }
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(served(*std::make_unique<RawClient>(server->endpoint())));
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  const std::lock_guard lock(mutex);
  CHECK(stories.size() == 10);
  for (const auto& [id, story] : stories) {
    // new, then active and idle in turn, closed once.
    std::string expected = "n";
    while (expected.size() + 1 < story.size()) expected += expected.back() == 'a' ? 'i' : 'a';
    CHECK(story == expected + 'c');
  }
}

TEST_CASE("a listing has every connection once while they move") {
  Machine machine{.spare = 4};
  TestServer server(with_pollers(4, machine), add_say);
  Load load(16, server);
  int listings = 0;
  int wrong = 0;
  CHECK(eventually([&] {
    const ConnectionListing listing = server->connections(100, in(10s));
    std::set<std::uint16_t> ports;
    for (const ConnectionInfo& each : listing.connections) ports.insert(each.remote.port);
    ++listings;
    if (listing.pollers_silent != 0 || listing.connections.size() != ports.size()) ++wrong;
    if (ports.size() != server.stats().accepted) ++wrong;
    return machine.decides(1) && server.stats().connections_moved >= 4;
  }));
  CHECK(wrong == 0);
  CHECK(listings > 1);
  CHECK(load.stop() == "");
}

TEST_CASE("P4.1: a server goes down in order while connections move") {
  for (int round = 0; round < 6; ++round) {
    Machine machine{.spare = 4};
    TestServer server(with_pollers(4, machine), add_say);
    {
      Load load(16, server);
      REQUIRE(eventually([&] { return server.stats().connections_moved > 0; }));
      const ShutdownReport report = server->shutdown(in(10s));
      CHECK(report.complete());
      CHECK(server.stats().connections.open() == 0);
      (void)load.stop();  // what came too late
    }
    const ServerStats stats = server.stats();
    CHECK(stats.going_down.forced == 0);
    CHECK(stats.accepted == 16);
  }
}

TEST_CASE("close() cuts every connection while they move") {
  for (int round = 0; round < 6; ++round) {
    Machine machine{.spare = 4};
    TestServer server(with_pollers(4, machine), add_say);
    Load load(16, server);
    REQUIRE(eventually([&] { return server.stats().connections_moved > 0; }));
    server->close();
    // What a handler has is given back when that has returned, at once.
    CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
    (void)load.stop();
  }
}
