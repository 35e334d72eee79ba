// Hijacked connections: taking over, the bytes in between, and their part in a shutdown.
#include <sys/socket.h>

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

bool send_text(int fd, std::string_view text) {
  return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// Sends back what comes in until the peer ends.
void echo_until_end(HijackedConnection& connection) {
  std::string bytes = connection.take_buffered();
  while (send_text(connection.fd(), bytes)) {
    bytes.resize(4096);
    const ssize_t got = ::recv(connection.fd(), bytes.data(), bytes.size(), 0);
    if (got <= 0) return;
    bytes.resize(static_cast<std::size_t>(got));
  }
}

// The same through read() and write(), in pieces of at most `piece_bytes`.
void echo_with_deadlines(HijackedConnection& connection, std::size_t piece_bytes) {
  std::string bytes(piece_bytes, '\0');
  while (true) {
    const Result<std::size_t> got = connection.read(bytes, in(20s));
    if (!got || *got == 0) return;
    if (!connection.write(std::string_view(bytes).substr(0, *got), in(20s))) return;
  }
}

const std::string kUpgrade = get_request("/chat", "Connection: Upgrade\r\nUpgrade: echo\r\n");

}  // namespace

TEST_CASE("P4.9: hijack gives the buffered bytes and the socket, in order, whatever comes when") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "GET /chat", [](ResponseWriter& response, auto&) {
      Result<HijackedConnection> connection = response.hijack();
      if (connection) echo_until_end(*connection);
    });
  });
  // The first is handled on the polling thread, the later ones are handed over.
  for (int round = 0; round < 3; ++round) {
    RawClient client = server.connect();
    std::string expected = "sent with the request;";
    client.send(kUpgrade + expected);
    for (int i = 0; i < 200; ++i) {
      const std::string piece = "piece " + std::to_string(i) + ";";
      expected += piece;
      client.send(piece);
    }
    CHECK((read_exactly(client, expected.size()) == expected));
    client.half_close();
    CHECK(client.closed_within(5s));
  }
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(server.stats().hijacked == 3);
  CHECK(server.stats().connections.hijacked == 0);
  CHECK(server.get("/hello") == "200 hello\n");
}

TEST_CASE("P4.9: read gives the buffered bytes first, whatever the size of its pieces") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "GET /chat", [](ResponseWriter& response, Request& request) {
      Result<HijackedConnection> connection = response.hijack();
      const std::string_view piece = request.query("piece").value_or("");
      if (connection) echo_with_deadlines(*connection, piece == "1" ? 1 : 4096);
    });
  });
  for (const char* target : {"/chat?piece=1", "/chat?piece=4096"}) {
    RawClient client = server.connect();
    client.send(get_request(target, "Connection: Upgrade\r\nUpgrade: echo\r\n") + "with the head;");
    client.send("behind it");
    CHECK(read_exactly(client, 23) == "with the head;behind it");
    client.half_close();
    CHECK(client.closed_within(5s));
  }
}

TEST_CASE("reading and writing a hijacked connection end at their deadlines") {
  Notes notes;
  std::atomic<bool> read_timed_out{false};
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /chat", [&](ResponseWriter& response, Request&) {
      Result<HijackedConnection> connection = response.hijack();
      if (!connection) return;
      std::string bytes(16, '\0');
      notes.add(connection->read(bytes, in(-1s)));
      notes.add(connection->read(bytes, in(20ms)));
      read_timed_out = true;
      notes.add(connection->read(bytes, in(20s)));  // a read may be repeated
      const std::string flood(8 << 20, 'x');        // more than the socket's buffers hold
      notes.add(connection->write(flood, in(20ms)));
      (void)connection->release();
      notes.add(connection->read(bytes, in(20s)));
      notes.add(connection->write("x", in(20s)));
    });
  });
  RawClient client(server->endpoint(), 4096);
  client.send(kUpgrade);
  REQUIRE(eventually([&] { return read_timed_out.load(); }));
  client.send("late");
  CHECK(client.read_to_end().size() > 0);
  CHECK(notes.take() == "deadline_exceeded deadline_exceeded ok deadline_exceeded closed closed");
}

TEST_CASE("one thread reads a hijacked connection while another writes, both end with its peer") {
  Notes notes;
  std::atomic<std::size_t> bytes_read{0};
  std::atomic<bool> ended{false};
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /chat", [&](ResponseWriter& response, Request&) {
      Result<HijackedConnection> connection = response.hijack();
      if (!connection) return;
      std::thread reader([&] {
        std::string bytes(1024, '\0');
        Result<std::size_t> got(0);
        while ((got = connection->read(bytes, in(20s))) && *got > 0) bytes_read += *got;
      });
      const std::string piece(1024, 'w');
      Result<void> written;
      while (written) written = connection->write(piece, in(20s));
      notes.add(written);
      reader.join();
      ended = true;
    });
  });
  RawClient client = server.connect();
  client.send(kUpgrade);
  for (int i = 0; i < 100; ++i) client.send(std::string(1024, 'r'));
  CHECK(read_exactly(client, 100 * 1024).substr(0, 4) == "wwww");
  REQUIRE(eventually([&] { return bytes_read == 100 * 1024; }));
  client.reset_on_close();
  client.close();
  CHECK(eventually([&] { return ended.load(); }));
  CHECK(notes.take() == "closed");
}

TEST_CASE("P4.9: requests pipelined before are answered, what is behind belongs to the hijacker") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "GET /chat", [](ResponseWriter& response, auto&) {
      Result<HijackedConnection> connection = response.hijack();
      if (connection) echo_until_end(*connection);
    });
  });
  RawClient client = server.connect();
  client.send(get_request("/hello") + kUpgrade + get_request("/hello"));
  CHECK(client.read_response().body == "hello\n");
  CHECK(read_exactly(client, get_request("/hello").size()) == get_request("/hello"));
}

TEST_CASE("P4.9: hijacking twice, writing and reading afterwards, hijacking late: errors") {
  Notes notes;
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /twice", [&](ResponseWriter& response, Request& request) {
      Result<HijackedConnection> connection = response.hijack();
      notes.add(connection);
      notes.add(response.hijack());
      notes.add(response.write("x"));
      notes.add(response.flush());
      notes.add(response.inform(103, {}));
      char byte;
      notes.add(request.read({&byte, 1}));
      response.status(500);  // no effect, no crash
      (void)send_text(connection->fd(), "mine");
      throw std::runtime_error("after the hijack");
    });
    add(router, "GET /late", [&](ResponseWriter& response, Request&) {
      (void)response.write("begun");
      Result<HijackedConnection> connection = response.hijack();
      notes.add(connection);
    });
  });
  RawClient client = server.connect();
  client.send(get_request("/twice"));
  CHECK(client.read_to_end() == "mine");
  CHECK(notes.take() == "ok closed closed closed closed closed");
  CHECK(server.get("/late") == "200 begun");
  CHECK(notes.take() == "invalid_argument");
  CHECK(server.stats().hijacked == 1);
}

TEST_CASE(
    "a hijacked connection outlives its handler, without deadlines, and ends with its owner") {
  std::optional<HijackedConnection> kept;
  std::atomic<bool> there{false};
  auto options = test_options();
  options.write_timeout = options.read_timeout = options.idle_timeout = 100ms;
  TestServer server(options, [&](Router& router) {
    add(router, "GET /keep", [&](ResponseWriter& response, auto&) {
      Result<HijackedConnection> connection = response.hijack();
      if (connection) kept.emplace(std::move(*connection));
      there = true;
    });
  });
  RawClient client = server.connect();
  client.send(get_request("/keep"));
  REQUIRE(eventually([&] { return there.load(); }));
  REQUIRE(kept);
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(server.stats().connections.hijacked == 1);
  CHECK_FALSE(client.closed_within(400ms));  // four times every deadline
  CHECK(kept->remote_address().host == "127.0.0.1");
  CHECK(send_text(kept->fd(), "still here"));
  CHECK(read_exactly(client, 10) == "still here");
  kept.reset();
  CHECK(client.closed_within(5s));
  CHECK(server.stats().connections.hijacked == 0);
}

TEST_CASE("closing inside the handler closes the connection, not only when the handler ends") {
  TestServer* self = nullptr;
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /close", [&](ResponseWriter& response, auto&) {
      { const Result<HijackedConnection> dropped = response.hijack(); }
      self->gate.wait();
    });
  });
  self = &server;
  RawClient client = server.connect();
  client.send(get_request("/close"));
  CHECK(client.closed_within(5s));
  CHECK(eventually([&] { return server.gate.waiting() == 1; }));  // the handler still runs
}

TEST_CASE("P4.6: shutdown tells hijacked connections and waits for them") {
  std::atomic<bool> told{false};
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /chat", [&](ResponseWriter& response, auto&) {
      Result<HijackedConnection> connection = response.hijack();
      if (!connection) return;
      connection->on_shutdown([&, fd = connection->fd()] {
        told = true;
        (void)send_text(fd, "goodbye");
        ::shutdown(fd, SHUT_RDWR);
      });
      echo_until_end(*connection);
    });
  });
  RawClient client = server.connect();
  client.send(kUpgrade + "hi");
  CHECK(read_exactly(client, 2) == "hi");
  const ShutdownReport report = server->shutdown(in(20s));
  CHECK(told);
  CHECK(report.complete());
  CHECK(report.hijacked_closed == 1);
  CHECK(report.hijacked_forced == 0);
  CHECK(client.read_to_end() == "goodbye");
}

TEST_CASE("P4.6: shutdown cuts hijacked connections at its deadline, inside and outside handlers") {
  std::optional<HijackedConnection> kept;
  std::atomic<bool> there{false};
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /chat", [&](ResponseWriter& response, auto&) {
      Result<HijackedConnection> connection = response.hijack();
      if (connection) echo_until_end(*connection);
    });
    add(router, "GET /keep", [&](ResponseWriter& response, auto&) {
      Result<HijackedConnection> connection = response.hijack();
      if (connection) kept.emplace(std::move(*connection));
      there = true;
    });
  });
  RawClient chat = server.connect();
  chat.send(kUpgrade + "hi");
  CHECK(read_exactly(chat, 2) == "hi");
  RawClient keep = server.connect();
  keep.send(get_request("/keep"));
  REQUIRE(eventually([&] { return there.load(); }));
  REQUIRE(kept);
  const ShutdownReport report = server->shutdown(in(200ms));
  CHECK_FALSE(report.complete());
  CHECK(report.hijacked_forced == 2);
  CHECK(report.hijacked_closed == 0);
  CHECK(report.forced == 0);
  REQUIRE(report.running.size() == 1);
  CHECK(report.running[0].label == "GET /chat");
  CHECK(chat.closed_within(5s));
  CHECK(keep.closed_within(5s));
  CHECK(kept->stop_token().stop_requested());
  char byte;
  CHECK(::recv(kept->fd(), &byte, 1, 0) == 0);  // the owner sees the end too
  kept.reset();
}

TEST_CASE("P4.6: connections that are hijacked while the server goes down are counted, too") {
  std::optional<HijackedConnection> kept;
  TestServer* self = nullptr;
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /late", [&](ResponseWriter& response, auto&) {
      self->gate.wait();
      const Result<HijackedConnection> connection = response.hijack();
    });
    add(router, "GET /keep", [&](ResponseWriter& response, auto&) {
      self->gate.wait();
      Result<HijackedConnection> connection = response.hijack();
      if (connection) kept.emplace(std::move(*connection));
    });
  });
  self = &server;
  const auto shut_down_under = [&](const std::string& target, Duration time) {
    RawClient client = server.connect();
    client.send(get_request(target));
    REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));
    ShutdownReport report;
    std::thread stopping([&] { report = server->shutdown(in(time)); });
    const bool going_down = eventually([&] { return !server.connect().connected(); });
    server.gate.open();
    stopping.join();
    REQUIRE(going_down);
    return report;
  };
  SECTION("its owner closes it in time") {
    const ShutdownReport report = shut_down_under("/late", 20s);
    CHECK(report.complete());
    CHECK(report.hijacked_closed == 1);
    CHECK(server.stats().going_down.hijacked_closed == 1);
  }
  SECTION("it is cut at the deadline") {
    const ShutdownReport report = shut_down_under("/keep", 300ms);
    CHECK(report.hijacked_closed == 0);
    CHECK(report.hijacked_forced == 1);
    CHECK(server.stats().going_down.hijacked_forced == 1);
    REQUIRE(kept);
    kept.reset();  // not in time
    CHECK(server.stats().going_down.hijacked_closed == 0);
  }
}

TEST_CASE("close cuts hijacked connections at once, and they may outlive the server") {
  std::optional<HijackedConnection> kept;
  std::atomic<bool> there{false};
  {
    TestServer server(test_options(), [&](Router& router) {
      add(router, "GET /keep", [&](ResponseWriter& response, auto&) {
        Result<HijackedConnection> connection = response.hijack();
        if (connection) kept.emplace(std::move(*connection));
        there = true;
      });
    });
    RawClient client = server.connect();
    client.send(get_request("/keep"));
    REQUIRE(eventually([&] { return there.load(); }));
    server->close();
    CHECK(client.closed_within(2s));
  }
  REQUIRE(kept);
  std::atomic<bool> told{false};
  kept->on_shutdown([&] { told = true; });
  CHECK(told);  // at once: it is past
  const UniqueFd bare = kept->release();
  CHECK(bare);
  CHECK(kept->fd() == -1);
}

TEST_CASE("conn_state: new, active, idle, active, closed, and hijacked as the last") {
  std::mutex mutex;
  std::map<std::uint64_t, std::string> seen;
  auto options = test_options();
  options.conn_state = [&](const ConnInfo& connection, ConnState state) {
    std::lock_guard lock(mutex);
    seen[connection.id] += std::string(conn_state_name(state)) + " ";
    if (state == ConnState::kActive) throw std::runtime_error("ignored");
  };
  options.max_connections = 2;
  TestServer server(options, [](Router& router) {
    add(router, "GET /chat",
        [](ResponseWriter& response, auto&) { const auto dropped = response.hijack(); });
  });
  const auto history = [&](std::uint64_t id) {
    std::lock_guard lock(mutex);
    return seen[id];
  };
  RawClient client = server.connect();
  REQUIRE(eventually([&] { return history(1) == "new "; }));
  client.send(get_request("/hello") + get_request("/hello"));
  (void)client.read_response();
  (void)client.read_response();
  REQUIRE(eventually([&] { return history(1) == "new active idle "; }));
  client.send("GET /hel");
  REQUIRE(eventually([&] { return history(1) == "new active idle active "; }));
  {
    RawClient second = server.connect();
    second.send(kUpgrade);
    CHECK(second.closed_within(5s));
    CHECK(history(2) == "new active hijacked ");
  }
  REQUIRE(eventually([&] { return server.stats().connections.open() == 1; }));
  // The hijacked one counts toward the limit until the leader has let it go.
  std::optional<RawClient> silent;
  REQUIRE(eventually([&] {
    silent.emplace(server->endpoint());
    // It is one more, or is told 503.
    (void)eventually(
        [&] { return history(3) == "new " || silent->receive(1ms) || silent->ended(); });
    return history(3) == "new ";
  }));
  RawClient refused = server.connect();
  CHECK(refused.read_response().status == 503);
  client.close();
  silent->close();
  refused.close();
  REQUIRE(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(history(1) == "new active idle active closed ");
  CHECK(eventually([&] { return history(3) == "new closed "; }));
  CHECK(history(2) == "new active hijacked ");
  CHECK(history(4).empty());  // turned away: it never was one
  CHECK(server.sink.saw("exception from conn_state"));
}
