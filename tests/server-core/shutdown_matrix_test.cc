// The shutdown matrix: a client in every state that a connection can be in (rows), when the server goes
// down gently, when its deadline passes, and when it is closed in the middle of that (columns).
// Nothing that was accepted is lost, nothing hangs, and the report is right. Two more columns: the
// client resets its connection, or sends no more, while the server goes on.
//
// The second signal to a process in all these states is in integration/shutdown_matrix_test.cc.
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server-core/hijack.h"
#include "server-core/websocket.h"
#include "tests/server-core/test_server.h"
#include "tests/server-core/tls_server.h"
#include "tests/support/catch.h"
#include "tests/support/http2_client.h"
#include "tests/support/websocket_client.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

using Now = ServerStats::ConnectionsNow;

// A client in one of the states.
struct Conversation {
  // Whether the server sees it there.
  std::function<bool(const Now&)> in_state;
  // What a client that means well does when the shutdown has begun.
  std::function<void()> go_on;
  // What it then got, in words. Waits for the connection's end.
  std::function<std::string()> outcome;
  // What it speaks through.
  std::shared_ptr<RawClient> connection;
};

// The numbers of a ShutdownReport, those that are zero left out: "drained=1".
std::string numbers_of(const ShutdownReport& report) {
  std::string text;
  const auto add = [&text](const char* name, std::uint64_t value) {
    if (value == 0) return;
    text += (text.empty() ? "" : " ") + std::string(name) + "=" + std::to_string(value);
  };
  add("drained", report.drained);
  add("closed_idle", report.closed_idle);
  add("forced", report.forced);
  add("hijacked_closed", report.hijacked_closed);
  add("hijacked_forced", report.hijacked_forced);
  add("running", report.running.size());
  return text;
}

struct Row {
  const char* state;
  Conversation (*begin)(TestServer& server);
  // What the client gets, and what the report says, when it is given the time …
  const char* served;
  const char* graceful;
  // … and when it does not go on before the deadline.
  const char* cut;
  const char* forced;
  // What it gets that sends no more, from a server that goes on.
  const char* half_closed;
};

// The response to a request, whole, and that it was the connection's last.
std::string last_response(RawClient& client, std::size_t body_bytes) {
  const RawResponse response = client.read_response();
  if (response.status == 0) return client.closed_within(5s) ? "nothing" : "open";
  const bool whole = response.status != 200 || response.body.size() == body_bytes;
  if (!response.complete || !whole) return "truncated";
  const std::string closed = response.header("connection") == "close" ? ", close" : "";
  return std::to_string(response.status) + closed + (client.closed_within(5s) ? "" : ", open");
}

std::function<std::string()> response_of(const std::shared_ptr<RawClient>& client,
                                         std::size_t body_bytes) {
  return [client, body_bytes] { return last_response(*client, body_bytes); };
}

std::shared_ptr<RawClient> sending(TestServer& server, const std::string& bytes,
                                   int receive_buffer_bytes = 0) {
  auto client = std::make_shared<RawClient>(server->endpoint(), receive_buffer_bytes);
  client->send(bytes);
  return client;
}

std::function<void()> then_send(const std::shared_ptr<RawClient>& client, std::string bytes) {
  return [client, bytes = std::move(bytes)] { client->send(bytes); };
}

Conversation nothing_said(TestServer& server) {
  auto client = sending(server, "");
  return {[](const Now& now) { return now.fresh == 1; }, then_send(client, get_request("/hello")),
          response_of(client, 6), client};
}

Conversation half_head(TestServer& server) {
  auto client = sending(server, "GET /hello HTTP/1.1\r\nHost:");
  return {[](const Now& now) { return now.reading_head == 1; }, then_send(client, " x\r\n\r\n"),
          response_of(client, 6), client};
}

Conversation half_body(TestServer& server) {
  auto client =
      sending(server, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello");
  return {[](const Now& now) { return now.reading_body == 1; }, then_send(client, "world"),
          response_of(client, 10), client};
}

Conversation half_streamed_body(TestServer& server) {
  constexpr std::size_t kBytes = 100'000;
  auto client = sending(server, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " +
                                    std::to_string(kBytes) + "\r\n\r\nhello");
  return {[](const Now& now) { return now.handling == 1; },
          then_send(client, std::string(kBytes - 5, 'x')), response_of(client, kBytes), client};
}

Conversation in_handler(TestServer& server) {
  auto client = sending(server, get_request("/hold"));
  return {[](const Now& now) { return now.handling == 1; }, [&server] { server.gate.open(); },
          response_of(client, 9), client};
}

constexpr std::size_t kLargeBytes = 30'000'000;

Conversation handler_writes(TestServer& server) {
  auto client = sending(server, get_request("/big?n=" + std::to_string(kLargeBytes)), 4096);
  return {[&server](const Now& now) { return now.handling == 1 && server.stats().bytes_sent > 0; },
          [] {}, response_of(client, kLargeBytes), client};
}

// The handlers have ended; their responses wait for a slow reader.
constexpr int kFilling = 1000;

Conversation engine_writes(TestServer& server) {
  std::string requests;
  for (int i = 0; i < kFilling; ++i) requests += get_request("/fill");
  auto client = sending(server, requests, 4096);
  // What was handled before arrives whole; how many that are the sockets' buffers decide.
  return {[](const Now& now) { return now.flushing == 1; }, [] {},
          [client] {
            int whole = 0;
            while (true) {
              const RawResponse response = client->read_response();
              if (response.status == 0) return whole > 0 ? "whole" : "nothing";
              if (!response.complete) return "truncated";
              ++whole;
            }
          },
          client};
}

Conversation rests(TestServer& server) {
  auto client = std::make_shared<RawClient>(server.connect_idle());
  return {[](const Now& now) { return now.idle == 1; }, [] {}, response_of(client, 0), client};
}

Conversation hijacked(TestServer& server) {
  auto client = sending(server, get_request("/tunnel"));
  return {[](const Now& now) { return now.hijacked == 1; },
          [client] {
            client->send("the end");
            client->half_close();
          },
          [client] { return client->read_to_end(); }, client};
}

Conversation websocket(TestServer& server) {
  auto client = std::make_shared<WebSocketClient>(server.connect(), "/ws");
  return {[](const Now& now) { return now.hijacked == 1; },
          [client] { client->send(kFin | kClose, close_payload(1001)); },
          [client] {
            const int code = client->read_frame().code();
            return std::to_string(code) + (client->ended() ? "" : ", open");
          },
          std::shared_ptr<RawClient>(client, &client->raw())};
}

Conversation http2_stream(TestServer& server) {
  auto client = std::make_shared<Http2Client>(server.connect());
  client->send(h2::get(1, "/hold"));
  return {[](const Now& now) { return now.multiplexed == 1; }, [&server] { server.gate.open(); },
          [client] {
            const bool closes = client->closes(5s);
            const h2::Response& response = client->reader.response(1);
            std::string text = response.ended ? std::to_string(response.status) : "nothing";
            if (!client->reader.goaways().empty()) text += ", goaway";
            return text + (closes ? "" : ", open");
          },
          std::shared_ptr<RawClient>(client, &client->raw)};
}

Conversation http2_rests(TestServer& server) {
  auto client = std::make_shared<Http2Client>(server.connect());
  client->get(1, "/hello");
  return {[](const Now& now) { return now.multiplexed == 1; }, [] {},
          [client] {
            const bool closes = client->closes(5s);
            const bool told = !client->reader.goaways().empty();
            return std::string(told ? "goaway" : "nothing") + (closes ? "" : ", open");
          },
          std::shared_ptr<RawClient>(client, &client->raw)};
}

Conversation half_handshake(TestServer& server) {
  auto client = sending(server, std::string("\x16\x03\x01\x02\x00\x01", 6));
  return {[](const Now& now) { return now.handshaking == 1; }, [] {},
          [client] { return client->closed_within(8s) ? "nothing" : "open"; }, client};
}

Conversation tls_handler(TestServer& server) {
  std::shared_ptr<RawClient> client = std::make_shared<TlsClient>(server->endpoint());
  client->send(get_request("/hold"));
  return {[](const Now& now) { return now.handling == 1; }, [&server] { server.gate.open(); },
          response_of(client, 9), client};
}

// A connection whose last response did not say "close", because its head was out before the shutdown
// began, and one of HTTP/2, is closed when it rests: it counts as idle then, beside its request.
constexpr Row kPlain[] = {
    {"new", nothing_said, "200, close", "drained=1", "nothing", "closed_idle=1", "nothing"},
    {"head", half_head, "200, close", "drained=1", "nothing", "closed_idle=1", "nothing"},
    {"body that the engine collects", half_body, "200, close", "drained=1", "nothing", "forced=1",
     "nothing"},
    {"body that the handler reads", half_streamed_body, "200, close", "drained=1", "nothing",
     "forced=1 running=1", "400, close"},
    {"handling", in_handler, "200, close", "drained=1", "nothing", "forced=1 running=1", "200"},
    {"handler writes", handler_writes, "200", "drained=1 closed_idle=1", "truncated",
     "forced=1 running=1", "200"},
    {"engine writes", engine_writes, "whole", "drained=1", "truncated", "forced=1", "whole"},
    {"idle", rests, "nothing", "closed_idle=1", "nothing", "closed_idle=1", "nothing"},
    {"hijacked", hijacked, "the end", "hijacked_closed=1", "", "hijacked_forced=1 running=1", ""},
    {"WebSocket", websocket, "1001", "hijacked_closed=1", "1001", "hijacked_forced=1 running=1",
     "1005"},
    {"HTTP/2 stream", http2_stream, "200, goaway", "drained=1 closed_idle=1", "nothing, goaway",
     "forced=1 running=1", "nothing"},
    {"HTTP/2 without a stream", http2_rests, "goaway", "closed_idle=1", "goaway", "closed_idle=1",
     "nothing"},
};

constexpr Row kTls[] = {
    {"TLS handshake", half_handshake, "nothing", "", "nothing", "closed_idle=1", "nothing"},
    {"TLS, handling", tls_handler, "200, close", "drained=1", "nothing", "forced=1 running=1",
     "200"},
};

void add_routes(Router& router) {
  add(router, "GET /fill",
      [](auto& response, auto&) { (void)response.write(std::string(30'000, 'x')); });
  // Does not listen to the server: sends back what comes until its client ends.
  add(router, "GET /tunnel", [](ResponseWriter& response, Request&) {
    Result<HijackedConnection> connection = response.hijack();
    if (!connection) return;
    char bytes[256];
    while (true) {
      const Result<std::size_t> got = connection->read(bytes, in(20s));
      if (!got || *got == 0 || !connection->write({bytes, *got}, in(20s))) return;
    }
  });
  add(router, "GET /ws", [](ResponseWriter& response, Request& request) {
    Result<WebSocket> socket = upgrade_websocket(response, request, {.close_timeout = 20s});
    while (socket && socket->read_message()) {
    }
  });
}

// A server, and a client in the state of `row`.
struct Cell {
  explicit Cell(const Row& row, std::unique_ptr<TlsServer> secured = {})
      : tls(std::move(secured)),
        plain(tls ? nullptr : std::make_unique<TestServer>(with_http2(), add_routes)),
        client(row.begin(server())) {
    REQUIRE(eventually([this] { return client.in_state(server().stats().connections); }));
  }
  TestServer& server() { return tls ? *tls->server : *plain; }

  static ServerOptions with_http2() {
    ServerOptions options = test_options();
    options.http2_cleartext = true;
    return options;
  }

  std::unique_ptr<TlsServer> tls;
  std::unique_ptr<TestServer> plain;
  Conversation client;
};

// Runs `column` for each row, over TLS for those that want it.
void for_each_row(const std::function<void(const Row&, Cell&)>& column) {
  const auto run = [&column](const Row& row, std::unique_ptr<TlsServer> tls) {
    INFO("state: " << row.state);
    Cell cell(row, std::move(tls));
    column(row, cell);
    cell.server().gate.open();  // whatever is left, its handler can end
    CHECK(eventually([&] { return cell.server().stats().connections.open() == 0; }));
    CHECK(eventually([&] { return cell.server().registry.counters().live == 0; }));
  };
  for (const Row& row : kPlain) run(row, {});
  for (const Row& row : kTls) run(row, std::make_unique<TlsServer>());
}

bool refuses(TestServer& server) {
  return eventually([&] { return !server.connect().connected(); });
}

}  // namespace

TEST_CASE("shutdown matrix: gently, whatever was accepted is served, in every state") {
  for_each_row([](const Row& row, Cell& cell) {
    Shutdown stopping(*cell.server(), in(20s));
    const bool refused = refuses(cell.server());
    cell.client.go_on();
    const std::string outcome = cell.client.outcome();
    const ShutdownReport report = stopping.wait();
    CHECK(refused);
    CHECK(outcome == row.served);
    CHECK(report.complete());
    CHECK(numbers_of(report) == row.graceful);
  });
}

TEST_CASE("shutdown matrix: at the deadline what is left is cut and reported, in every state") {
  for_each_row([](const Row& row, Cell& cell) {
    const MonotonicTime begin = SystemClock().now();
    const ShutdownReport report = cell.server()->shutdown(begin + 200ms);
    const Duration took = SystemClock().now() - begin;
    const std::string outcome = cell.client.outcome();
    CHECK(took < 2s);
    CHECK(outcome == row.cut);
    CHECK(numbers_of(report) == row.forced);
    CHECK(report.complete() == (std::string(row.forced) == "closed_idle=1"));
  });
}

TEST_CASE("shutdown matrix: closed while it shuts down, it ends at once in every state") {
  for_each_row([](const Row& row, Cell& cell) {
    Shutdown stopping(*cell.server(), in(60s));
    const bool refused = refuses(cell.server());
    const MonotonicTime begin = SystemClock().now();
    cell.server()->close();
    cell.server().gate.open();
    const ShutdownReport report = stopping.wait();
    const Duration took = SystemClock().now() - begin;
    const std::string outcome = cell.client.outcome();
    CHECK(refused);
    CHECK(took < 2s);
    INFO(outcome << ", not " << row.cut << " or " << row.served);
    CHECK((outcome == row.cut || outcome == row.served));
    CHECK(numbers_of(report) != "");
  });
}

TEST_CASE("P3.6: a client that resets its connection leaves nothing behind, in every state") {
  for_each_row([](const Row&, Cell& cell) {
    cell.client.connection->reset_on_close();
    cell.client.connection->close();
    // A handler that holds does not look at its stop token.
    cell.server().gate.open();
    CHECK(eventually([&] { return cell.server().stats().connections.open() == 0; }));
  });
}

TEST_CASE("a client that sends no more gets what it has asked for, or the end, in every state") {
  for_each_row([](const Row& row, Cell& cell) {
    cell.client.connection->half_close();
    if (std::string_view(row.half_closed) == "nothing") {
      // The end comes by itself. A connection of HTTP/2 has its streams in both directions: it ends as a whole.
      const auto seen = [&] { return !cell.client.in_state(cell.server().stats().connections); };
      CHECK(eventually(seen));
    }
    cell.server().gate.open();
    CHECK(cell.client.outcome() == row.half_closed);
  });
}
