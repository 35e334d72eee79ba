// WebSockets when the server goes down (P4.6), and in the eyes of the watchdog.
#include <atomic>
#include <thread>

#include "leakwatch/watchdog.h"
#include "server-core/websocket.h"
#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"
#include "tests/support/websocket_client.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

using Talk = std::function<void(WebSocket&)>;

std::function<void(Router&)> route(const WebSocketOptions& options, Talk talk) {
  return [options, talk = std::move(talk)](Router& router) {
    const auto handler = [options, talk](ResponseWriter& response, Request& request) {
      Result<WebSocket> socket = upgrade_websocket(response, request, options);
      if (socket) talk(*socket);
    };
    add(router, "GET /ws", handler);
  };
}

class NoStacks final : public leakwatch::StackSource {
 public:
  std::vector<leakwatch::LiveStack> capture(std::span<const pid_t> threads,
                                            MonotonicTime) override {
    return std::vector<leakwatch::LiveStack>(threads.size());
  }
  std::vector<leakwatch::LiveStack> capture_all(MonotonicTime) override { return {}; }
  std::vector<leakwatch::WaitEdge> lock_waits(std::span<const pid_t>) override { return {}; }
};

// The server's only WebSocket waits for a message. A client sees the handshake's answer before that:
// the handler's thread may then still be on its way.
bool waits_for_message(TestServer& server) {
  const auto tasks = server.registry.snapshot();
  return tasks.size() == 1 && tasks[0].progressed_at == kNoDeadline;
}

}  // namespace

TEST_CASE("P4.6: shutdown says 1001 to a WebSocket and waits for its answer") {
  Notes notes;
  std::atomic<bool> sent{false};
  TestServer server(test_options(), route({}, [&](WebSocket& socket) {
                      std::thread other([&] {
                        while (!socket.stop_token().stop_requested()) std::this_thread::yield();
                        // The token is stopped before the goodbye is sent, or while.
                        Result<void> late;
                        while (late) late = socket.send_text("late");
                        notes.add(late);
                        sent = true;
                      });
                      Result<WebSocketMessage> message = socket.read_message();
                      notes.add(message);  // comes although we have said goodbye
                      notes.add(socket.read_message());
                      other.join();
                    }));
  WebSocketClient client(server.connect(), "/ws");
  REQUIRE(client.open());
  Shutdown shutdown(*server, in(20s));
  ServerFrame frame;
  do frame = client.read_frame();
  while (frame.payload == "late");
  CHECK(frame.first == (kFin | kClose));
  CHECK(frame.code() == 1001);
  CHECK(frame.reason() == "the server is going down");
  REQUIRE(eventually([&] { return sent.load(); }));
  client.send(kFin | kText, "I was just saying");
  client.send(kFin | kClose, close_payload(1001));
  CHECK(client.ended());
  const ShutdownReport report = shutdown.wait();
  CHECK(report.complete());
  CHECK(report.hijacked_closed == 1);
  CHECK(report.hijacked_forced == 0);
  CHECK(notes.take() == "closed ok closed");
}

TEST_CASE(
    "P4.6: the goodbye waits for a frame that is half written, shutdown does not wait for it") {
  const std::string large(16 << 20, 'x');
  TestServer server(test_options(), route({}, [&](WebSocket& socket) {
                      (void)socket.send_binary(large, in(20s));
                      (void)socket.read_message(in(20s));
                    }));
  WebSocketClient slow(RawClient(server->endpoint(), 4096), "/ws");
  WebSocketClient second(server.connect(), "/ws");
  CHECK(second.read_frame().payload.size() == large.size());  // idle from here on
  REQUIRE(slow.raw().receive());  // the other's frame has begun, and cannot end yet
  Shutdown shutdown(*server, in(20s));
  // The slow one's goodbye is asked for first, and must not keep the other waiting.
  CHECK(second.read_frame().code() == 1001);
  second.send(kFin | kClose, close_payload(1001));
  CHECK(second.ended());
  const ServerFrame frame = slow.read_frame();
  CHECK((frame.payload == large));
  CHECK(slow.read_frame().code() == 1001);
  slow.send(kFin | kClose, close_payload(1001));
  const ShutdownReport report = shutdown.wait();
  CHECK(report.complete());
  CHECK(report.hijacked_closed == 2);
}

TEST_CASE(
    "P4.6: shutdown counts who closed, who was cut, who came late, and which handlers run on") {
  Gate stuck;
  TestServer server(test_options(), route({.close_timeout = 20s}, [&](WebSocket& socket) {
                      const auto message = socket.read_message();
                      if (message && message->data == "get stuck") stuck.wait();
                      while (socket.read_message()) {
                      }
                    }));
  WebSocketClient polite(server.connect(), "/ws");
  WebSocketClient closed_before(server.connect(), "/ws");
  WebSocketClient silent(server.connect(), "/ws");
  WebSocketClient handler_stuck(server.connect(), "/ws");
  closed_before.send(kFin | kClose, close_payload(1000));
  CHECK(closed_before.read_frame().code() == 1000);
  handler_stuck.send(kFin | kText, "get stuck");
  REQUIRE(eventually([&] { return stuck.waiting() == 1; }));
  REQUIRE(eventually([&] { return server.stats().connections.hijacked == 3; }));

  Shutdown shutdown(*server, in(1s));
  for (WebSocketClient* client : {&polite, &silent, &handler_stuck}) {
    CHECK(client->read_frame().code() == 1001);
  }
  polite.send(kFin | kClose, close_payload(1001));
  const ShutdownReport report = shutdown.wait();
  CHECK_FALSE(report.complete());
  CHECK(report.hijacked_closed == 1);
  CHECK(report.hijacked_forced == 2);
  CHECK(report.forced == 0);
  CHECK(report.running.size() >= 1);  // the stuck one; the silent one's ends with its connection
  CHECK(silent.ended());
  CHECK(handler_stuck.ended());
  stuck.open();
  CHECK(eventually([&] { return server.stats().websockets.open == 0; }));
}

TEST_CASE("P4.6: close cuts WebSockets at once") {
  Notes notes;
  TestServer server(test_options(),
                    route({}, [&](WebSocket& socket) { notes.add(socket.read_message()); }));
  WebSocketClient client(server.connect(), "/ws");
  REQUIRE(client.open());
  REQUIRE(eventually([&] { return waits_for_message(server); }));
  server->close();
  CHECK(client.read_frame().code() == 1001);  // the goodbye still fits
  CHECK(client.ended());
  CHECK(eventually([&] { return server.stats().websockets.open == 0; }));
  CHECK(notes.take() == "closed");
}

TEST_CASE(
    "the watchdog leaves a WebSocket alone while it waits, and flags one that does not move") {
  NoStacks stacks;
  Gate gate;
  TestServer server(test_options(), route({.stalled_after = 30s}, [&](WebSocket& socket) {
                      while (auto message = socket.read_message()) {
                        if (message->data == "stall") gate.wait();
                        if (!socket.send(message->kind, message->data)) return;
                      }
                    }));
  auto watchdog = *leakwatch::Watchdog::create({.threshold = 1s}, server.registry, stacks,
                                               server.sink, server.clock);
  WebSocketClient client(server.connect(), "/ws");
  client.send(kFin | kText, "hello");
  CHECK(client.read_frame().payload == "hello");
  const auto waits = [&] { return waits_for_message(server); };
  REQUIRE(eventually(waits));
  CHECK(server.registry.snapshot()[0].stalled_after == 30s);
  watchdog->step(in(24h));
  CHECK(watchdog->counters().flagged == 0);

  client.send(kFin | kText, "stall");
  REQUIRE(eventually([&] { return gate.waiting() == 1; }));
  watchdog->step(in(29s));
  CHECK(watchdog->counters().flagged == 0);
  watchdog->step(in(31s));
  REQUIRE(watchdog->reports().size() == 1);
  CHECK(watchdog->reports()[0].stalled);
  CHECK(watchdog->reports()[0].task.label == "GET /ws");
  gate.open();
  CHECK(client.read_frame().payload == "stall");
  REQUIRE(eventually(waits));
  watchdog->step(in(32s));
  CHECK(watchdog->counters().stuck_now == 0);
  CHECK(server.sink.saw("stream moves again"));

  client.send(kText, "half a message");  // the rest of it is what a stalled peer owes
  REQUIRE(eventually([&] { return !waits(); }));
  watchdog->step(in(31s));
  CHECK(watchdog->counters().stalled == 2);
}

TEST_CASE("the watchdog flags a WebSocket whose peer takes nothing, also while its reader waits") {
  NoStacks stacks;
  TestServer server(
      test_options(), route({.stalled_after = 30s}, [&](WebSocket& socket) {
        std::thread writer([&] { (void)socket.send_binary(std::string(16 << 20, 'x'), in(20s)); });
        (void)socket.read_message();
        writer.join();
      }));
  auto watchdog = *leakwatch::Watchdog::create({.threshold = 1s}, server.registry, stacks,
                                               server.sink, server.clock);
  WebSocketClient slow(RawClient(server->endpoint(), 4096), "/ws");
  REQUIRE(eventually([&] {
    watchdog->step(in(31s));
    return watchdog->counters().stalled == 1;
  }));
}
