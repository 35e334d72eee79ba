// HTTP/2 and max_in_flight: streams wait for a slot as requests of HTTP/1.1 do, in the same row.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"
#include "tests/support/http2_client.h"

namespace {

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;
using Time = std::chrono::steady_clock;

http::ServerOptions queue_options(std::size_t max_queue, Duration timeout) {
  http::ServerOptions options = test_options();
  options.http2_cleartext = true;
  options.max_in_flight = 1;
  options.max_queue = max_queue;
  options.queue_timeout = timeout;
  return options;
}

// A server with one slot, which a request to /hold has.
struct OneSlot {
  explicit OneSlot(std::size_t max_queue, Duration timeout = 20s)
      : server(queue_options(max_queue, timeout)) {
    holder.send(get_request("/hold"));
    REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));
  }
  http::ServerStats::Queue queue() const { return server.stats().queue; }
  // Sends a request that waits.
  template <typename Client>
  void let_wait(Client& client, const std::string& request) {
    const std::uint64_t before = queue().entered;
    client.send(request);
    REQUIRE(eventually([&] { return queue().entered == before + 1; }));
  }
  Http2Client connect() { return Http2Client(server.connect()); }

  TestServer server;
  RawClient holder = server.connect();
};

std::string answer(Http2Client& client, std::uint32_t stream) {
  if (!client.answered(stream)) return "no answer";
  const h2::Response& response = client.reader.response(stream);
  return std::to_string(response.status) + " " + response.body;
}

}  // namespace

TEST_CASE("P3.3: streams wait in one row with HTTP/1.1, without a thread, and are served") {
  OneSlot slot(100);
  Http2Client client = slot.connect();
  RawClient old = slot.server.connect();
  const std::uint64_t threads = slot.server.stats().threads_now;
  slot.let_wait(client, h2::get(1, "/hello"));
  slot.let_wait(old, get_request("/hello"));
  for (std::uint32_t id = 3; id < 100; id += 2) slot.let_wait(client, h2::get(id, "/hello"));
  slot.let_wait(client, h2::post(101, "/echo") + h2::data(101, "abc"));
  CHECK(slot.queue().waiting == 52);
  CHECK(slot.server.stats().connections.queued == 1);
  CHECK(slot.server.stats().threads_now <= threads + 1);
  slot.server.gate.open();
  for (std::uint32_t id = 1; id < 100; id += 2) CHECK(answer(client, id) == "200 hello\n");
  CHECK(answer(client, 101) == "200 abc");
  CHECK(old.read_response().body == "hello\n");
  CHECK(slot.queue().waiting == 0);
  CHECK(slot.queue().timed_out == 0);
  CHECK(slot.queue().waited > Duration(0));
  CHECK(slot.server.stats().http2.requests == 51);
  CHECK(slot.server.stats().requests == 53);
}

TEST_CASE("P3.3: a stream that finds the queue full gets 503 at once") {
  OneSlot slot(1);
  Http2Client client = slot.connect();
  slot.let_wait(client, h2::get(1, "/hello"));
  CHECK(client.get(3, "/hello") == "503 too many requests in flight\n");
  CHECK(client.reader.response(3).header("retry-after") == "1");
  CHECK(slot.server.stats().limits_hit.in_flight == 1);
  slot.server.gate.open();
  CHECK(answer(client, 1) == "200 hello\n");
}

TEST_CASE("P3.3: a stream's wait that is over gives 503, and its connection goes on") {
  OneSlot slot(4, 300ms);
  Http2Client client = slot.connect();
  const auto begin = Time::now();
  slot.let_wait(client, h2::get(1, "/hello"));
  CHECK(answer(client, 1) == "503 too many requests in flight\n");
  CHECK(Time::now() - begin >= 300ms);
  CHECK(Time::now() - begin < 1300ms);
  CHECK(client.reader.response(1).header("retry-after") == "1");
  CHECK(slot.queue().timed_out == 1);
  CHECK(slot.queue().waiting == 0);
  slot.server.gate.open();
  CHECK(slot.holder.read_response().status == 200);
  CHECK(client.get(3, "/hello") == "200 hello\n");
}

TEST_CASE("P3.3: a stream that is reset, or whose connection goes, gives its place to the next") {
  OneSlot slot(1);
  Http2Client client = slot.connect();
  slot.let_wait(client, h2::get(1, "/hello"));
  client.send(h2::rst(1));
  REQUIRE(eventually([&] { return slot.queue().abandoned == 1; }));
  {
    Http2Client gone = slot.connect();
    slot.let_wait(gone, h2::get(1, "/hello"));
  }
  REQUIRE(eventually([&] { return slot.queue().abandoned == 2; }));
  slot.let_wait(client, h2::get(3, "/hello"));
  slot.server.gate.open();
  CHECK(answer(client, 3) == "200 hello\n");
  CHECK(slot.queue().waiting == 0);
}

TEST_CASE("P3.3: many streams through a narrow queue: all are answered, and no slot is lost") {
  http::ServerOptions options = queue_options(4, 20ms);
  options.max_in_flight = 2;
  TestServer server(options, [](http::Router& router) {
    REQUIRE(router
                .handle("GET /nap",
                        [](auto& response, auto&) {
                          std::this_thread::sleep_for(2ms);
                          (void)response.write("nap");
                        })
                .ok());
  });
  std::atomic<int> good{0};
  std::atomic<int> refused{0};
  std::atomic<int> other{0};
  const auto count = [&](int status) {
    (status == 200 ? good : status == 503 ? refused : other) += 1;
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < 6; ++i) {
    clients.emplace_back([&, i] {
      for (int round = 0; round < 40; ++round) {
        Http2Client client(server.connect());
        for (std::uint32_t id = 1; id < 13; id += 2) {
          client.send(h2::get(id, id % 4 == 1 ? "/hello" : "/nap"));
          if ((i + round + static_cast<int>(id)) % 3 == 0) client.send(h2::rst(id));
        }
        if ((i + round) % 7 == 0) continue;  // goes away without its answers
        for (std::uint32_t id = 1; id < 13; id += 2) {
          if ((i + round + static_cast<int>(id)) % 3 == 0) continue;
          count(client.answered(id) ? client.reader.response(id).status : 0);
        }
      }
    });
    clients.emplace_back([&] {
      for (int round = 0; round < 100; ++round) {
        RawClient client = server.connect();
        client.send(get_request("/nap"));
        count(client.read_response().status);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  CHECK(other == 0);
  CHECK(good > 0);
  CHECK(refused > 0);
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(eventually([&] { return server.stats().queue.waiting == 0; }));
  // Both slots are there: two requests that wait for each other's end get in.
  Http2Client client(server.connect());
  client.send(h2::get(1, "/hold") + h2::get(3, "/hold"));
  CHECK(eventually([&] { return server.gate.waiting() == 2; }));
  server.gate.open();
  CHECK(client.answered(1));
  CHECK(client.answered(3));
}

TEST_CASE("a shutdown serves the streams that wait, a forced one drops them") {
  SECTION("served") {
    OneSlot slot(4);
    Http2Client client = slot.connect();
    slot.let_wait(client, h2::get(1, "/hello"));
    http::ShutdownReport report;
    std::thread stopping([&] { report = slot.server->shutdown(slot.server.clock.now() + 20s); });
    const bool refused = eventually([&] { return !slot.server.connect().connected(); });
    slot.server.gate.open();
    const std::string answered = answer(client, 1);
    const bool closed = client.closes();
    client.raw.close();
    slot.holder.close();
    stopping.join();
    CHECK(refused);
    CHECK(answered == "200 hello\n");
    CHECK(closed);
    CHECK(report.complete());
    CHECK(report.drained == 2);
  }
  SECTION("dropped") {
    OneSlot slot(4);
    Http2Client client = slot.connect();
    slot.let_wait(client, h2::get(1, "/hello"));
    const http::ShutdownReport report = slot.server->shutdown(slot.server.clock.now() + 100ms);
    CHECK(client.closes(1000ms));
    CHECK(report.forced == 2);
    CHECK(report.running.size() == 1);
    CHECK(slot.queue().waiting == 0);
    CHECK(slot.queue().abandoned == 1);
  }
}
