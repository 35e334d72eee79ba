// HTTP/2 over sockets: abuse, deadlines, the end.
#include <sys/resource.h>

#include <fstream>
#include <thread>

#include "tests/server-core/http2_server.h"
#include "tests/support/catch.h"
#include "tests/support/sanitizer.h"

namespace {

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;
using Steady = std::chrono::steady_clock;

constexpr auto kDeadline = 300ms;
constexpr auto kLatest = 3000ms;

std::uint64_t abuse(TestServer& server, http::Http2Abuse kind) {
  return server.stats().http2.abuse[static_cast<std::size_t>(kind)];
}

constexpr long kMemoryFactor = kUnderSanitizer ? 8 : 1;

long resident_kib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmRSS:") break;
  }
  long kib = 0;
  status >> kib;
  return kib;
}

template <typename Action>
void check_takes_the_deadline(Action action) {
  const auto begin = Steady::now();
  action();
  CHECK(Steady::now() - begin >= kDeadline - 5ms);
  CHECK(Steady::now() - begin < kLatest);
}

}  // namespace

TEST_CASE("P5.3 floods end their connection before 20,000 events, and touch no other") {
  struct Flood {
    http::Http2Abuse kind;
    const char* name;
    std::string before;
    std::string (*event)(std::uint32_t i);
  };
  using http::Http2Abuse;
  const Flood floods[] = {
      {Http2Abuse::kRapidReset, "rapid reset", "",
       [](std::uint32_t i) { return h2::get(2 * i + 1, "/hello") + h2::rst(2 * i + 1); }},
      {Http2Abuse::kProvokedReset, "MadeYouReset", "",
       [](std::uint32_t i) {
         return h2::get(2 * i + 1, "/stop") + h2::window_update(2 * i + 1, 0x7FFFFFFF);
       }},
      {Http2Abuse::kContinuation, "CONTINUATION, large",
       h2::frame(h2::kHeaders, 0, 1, h2::block(h2::request_fields("GET", "/hello"))),
       [](std::uint32_t) {
         return h2::frame(h2::kContinuation, 0, 1, h2::block({{"x", std::string(100, 'a')}}));
       }},
      {Http2Abuse::kContinuation, "CONTINUATION, empty",
       h2::frame(h2::kHeaders, 0, 1, h2::block(h2::request_fields("GET", "/hello"))),
       [](std::uint32_t) { return h2::frame(h2::kContinuation, 0, 1); }},
      {Http2Abuse::kSettings, "SETTINGS", "", [](std::uint32_t) { return h2::settings(); }},
      {Http2Abuse::kPing, "PING", "", [](std::uint32_t) { return h2::ping(); }},
      {Http2Abuse::kEmptyData, "empty DATA", h2::post(1, "/echo"),
       [](std::uint32_t) { return h2::data(1, "", h2::kNone); }},
      {Http2Abuse::kPriority, "PRIORITY", "",
       [](std::uint32_t i) {
         return h2::frame(h2::kPriority, 0, 2 * i + 1, h2::number(0) + "\x10");
       }},
      {Http2Abuse::kWindowUpdate, "WINDOW_UPDATE", "",
       [](std::uint32_t) { return h2::window_update(0, 1); }},
  };
  TestServer server(h2_options());
  Http2Client bystander = connect(server);
  REQUIRE(bystander.get(1, "/hello") == "200 hello\n");
  std::uint32_t next = 3;
  const long before = resident_kib();
  for (const Flood& flood : floods) {
    INFO(flood.name);
    const std::uint64_t counted = abuse(server, flood.kind);
    Http2Client client = connect(server);
    client.send(flood.before);
    std::uint32_t sent = 0;
    const auto told = [&] { return !client.reader.goaways().empty() || client.raw.ended(); };
    while (sent < 20'000 && !told()) {
      std::string batch;
      for (int i = 0; i < 50; ++i) batch += flood.event(sent++);
      if (!client.send(batch)) break;
      (void)client.until(told, 1ms);
    }
    CHECK(sent < 20'000);
    CHECK(client.closes());
    CHECK(eventually([&] { return abuse(server, flood.kind) == counted + 1; }));
    CHECK(bystander.get(next, "/hello") == "200 hello\n");
    next += 2;
  }
  CHECK(resident_kib() - before < kMemoryFactor * 64 * 1024);
  CHECK(server.sink.saw("http2 connection ended for abuse"));
}

TEST_CASE("P5.3 a client that reads nothing and asks for answers is bounded") {
  TestServer server(h2_options());
  const long before = resident_kib();
  RawClient client(server->endpoint(), 4096);
  client.send(h2::kPreface + h2::settings());
  std::string pings;
  for (int i = 0; i < 1000; ++i) pings += h2::ping();
  for (int i = 0; i < 20 && client.send(pings); ++i) {
  }
  CHECK(eventually([&] {
    return abuse(server, http::Http2Abuse::kPing) + abuse(server, http::Http2Abuse::kUnread) == 1;
  }));
  CHECK(eventually([&] { return server.stats().connections.multiplexed == 0; }));
  CHECK(resident_kib() - before < kMemoryFactor * 64 * 1024);
}

TEST_CASE("P5.4 an HPACK bomb and 1.3 MB of headers are refused, in little memory") {
  TestServer server(h2_options());
  const long before = resident_kib();
  std::string bomb = h2::block(h2::request_fields("GET", "/hello"));
  bomb += std::string("\x40\x01x\x7F") + std::string("\x95\x1E") + std::string(3988, 'a');
  bomb += std::string(12'000, '\xBE');  // 48 MB of fields
  Http2Client client = connect(server);
  client.send(h2::frame(h2::kHeaders, h2::kWhole, 1, bomb));
  CHECK(client.said_goaway("ENHANCE_YOUR_CALM"));
  CHECK(client.closes());
  CHECK(abuse(server, http::Http2Abuse::kHeaderBomb) == 1);

  Http2Client large = connect(server);
  std::string list =
      h2::frame(h2::kHeaders, h2::kEndStream, 1, h2::block(h2::request_fields("GET", "/hello")));
  const std::string field = h2::block({{"x", std::string(16'000, 'a')}});
  for (int i = 0; i < 81; ++i) list += h2::frame(h2::kContinuation, 0, 1, field);
  (void)large.send(list + h2::frame(h2::kContinuation, h2::kEndHeaders, 1));
  CHECK(large.closes());
  CHECK(large.reader.response(1).status != 200);
  CHECK(resident_kib() - before < kMemoryFactor * 32 * 1024);
}

TEST_CASE("P5.6 a header block without END_HEADERS: the connection ends at read_header") {
  http::ServerOptions options = h2_options();
  options.read_header_timeout = kDeadline;
  TestServer server(options);
  Http2Client client = connect(server);
  CHECK(client.get(1, "/hello") == "200 hello\n");
  check_takes_the_deadline([&] {
    client.send(h2::headers(3, h2::request_fields("GET", "/hello"), h2::kEndStream));
    CHECK(client.closes(kLatest));
  });
  CHECK(client.reader.goaways() == std::vector<std::string>{"3 NO_ERROR"});
  CHECK(server.stats().timeouts.read_header == 1);
  // Nor may SETTINGS be late.
  RawClient silent = server.connect();
  silent.send(h2::kPreface);
  check_takes_the_deadline([&] {
    while (silent.receive(kLatest)) {
    }
    CHECK(silent.ended());
  });
}

TEST_CASE("P5.6 a body that stalls: the stream is reset at read, or its handler told") {
  http::ServerOptions options = h2_options();
  options.read_timeout = kDeadline;
  TestServer server(options);
  Http2Client client = connect(server);
  check_takes_the_deadline([&] {
    CHECK(client.exchange(1, h2::post(1, "/echo", {{"content-length", "2"}}) +
                                 h2::data(1, "a", h2::kNone)) == "reset CANCEL");
  });
  CHECK(client.get(3, "/hello") == "200 hello\n");
  check_takes_the_deadline([&] {
    CHECK(client.exchange(5, h2::post(5, "/echo") + h2::data(5, "a", h2::kNone)) ==
          "400 adeadline_exceeded\n");
  });
  REQUIRE(client.until([&] { return client.reader.response(5).reset == "NO_ERROR"; }));
  CHECK(client.get(7, "/hello") == "200 hello\n");
  CHECK(server.stats().timeouts.read == 2);
}

TEST_CASE("P5.6 a window of zero: the stream is reset at write, buffered or in its handler") {
  http::ServerOptions options = h2_options();
  options.write_timeout = kDeadline;
  TestServer server(options);
  Http2Client client = connect(server, h2::settings({{4, 0}}));
  check_takes_the_deadline([&] { CHECK(client.get(1, "/hello") == "reset CANCEL"); });
  check_takes_the_deadline([&] { CHECK(client.get(3, "/big?n=10000000") == "reset CANCEL"); });
  CHECK(eventually([&] { return server.write_errors == 1; }));
  CHECK(eventually([&] { return server.stats().timeouts.write >= 2; }));
  // A handler that does not write at all.
  check_takes_the_deadline([&] { CHECK(client.get(5, "/stop") == "reset CANCEL"); });
  CHECK(eventually([&] { return server.stopped == 1; }));
}

TEST_CASE("P5.6 an idle connection gets GOAWAY and is closed, whatever PINGs it sends") {
  http::ServerOptions options = h2_options();
  options.idle_timeout = kDeadline;
  TestServer server(options);
  Http2Client client = connect(server);
  CHECK(client.get(1, "/hello") == "200 hello\n");
  check_takes_the_deadline([&] {
    const auto end = Steady::now() + kLatest;
    while (!client.raw.ended() && Steady::now() < end) {
      client.send(h2::ping());
      (void)client.until([&] { return client.raw.ended(); }, 50ms);
    }
    CHECK(client.raw.ended());
  });
  CHECK(client.reader.goaways() == std::vector<std::string>{"1 NO_ERROR"});
  CHECK(server.stats().timeouts.idle == 1);
}

TEST_CASE("P5.6 a peer that does not answer PING is closed, one that does stays") {
  http::ServerOptions options = h2_options();
  options.http2_ping_after = kDeadline;
  options.http2_ping_timeout = kDeadline;
  options.read_header_timeout = 200ms;  // looked at so often
  TestServer server(options);
  Http2Client good = connect(server);
  good.send(h2::get(1, "/hold"));
  RawClient dead = server.connect();
  dead.send(h2::kPreface + h2::settings() + h2::get(1, "/hold"));
  const auto end = Steady::now() + kLatest;
  while (server.stats().http2.ping_timeouts == 0 && Steady::now() < end) {
    (void)good.until([] { return false; }, 20ms);
  }
  CHECK(server.stats().http2.ping_timeouts == 1);
  (void)good.until([] { return false; }, 2 * kDeadline);
  CHECK_FALSE(good.raw.ended());
  server.gate.open();
  CHECK(good.answered(1));
}

TEST_CASE("P5.7 shutdown: GOAWAY in two steps, and streams in flight finish") {
  TestServer server(h2_options());
  Http2Client client = connect(server);
  Http2Client idle = connect(server);
  CHECK(idle.get(1, "/hello") == "200 hello\n");
  client.send(h2::get(1, "/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));
  http::ShutdownReport report;
  std::thread ender([&] { report = server->shutdown(server.clock.now() + 10s); });
  REQUIRE(client.until([&] { return client.reader.goaways().size() == 2; }));
  CHECK(client.reader.goaways() == std::vector<std::string>{"2147483647 NO_ERROR", "1 NO_ERROR"});
  CHECK(idle.closes());
  server.gate.open();
  CHECK(client.answered(1));
  CHECK(client.reader.response(1).body == "released\n");
  CHECK(client.closes());
  ender.join();
  CHECK(report.complete());
  CHECK(report.drained == 1);
}

TEST_CASE("P5.7 a handler that stays: cut at the deadline, and reported") {
  TestServer server(h2_options());
  Http2Client client = connect(server);
  client.send(h2::get(1, "/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));
  const http::ShutdownReport report = server->shutdown(server.clock.now() + 200ms);
  CHECK(report.forced == 1);
  REQUIRE(report.running.size() == 1);
  CHECK(report.running[0].label == "GET /hold");
  CHECK(client.closes());
  server.gate.open();
}
