// What comes behind a TLS handshake: requests and bodies in whatever records, ends said and unsaid.
#include <signal.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "tests/server-core/tls_server.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

std::string post(const std::string& target, const std::string& body) {
  return "POST " + target +
         " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

// Bytes in which a lost, doubled or displaced block shows.
std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint64_t state = 88172645463325252ULL;
  for (char& byte : bytes) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    byte = static_cast<char>(state);
  }
  return bytes;
}

}  // namespace

TEST_CASE("TLS: kept alive and pipelined, whatever the records are") {
  TlsServer server;
  TlsClient client = server.connect();
  REQUIRE(client.shaken());
  SECTION("one request after the other") {
    for (int i = 0; i < 50; ++i) REQUIRE(server.get(client, "/hello") == "200 hello\n");
  }
  SECTION("P1.18: ten requests in one record") {
    std::string requests;
    for (int i = 0; i < 10; ++i) requests += get_request("/hello");
    REQUIRE(client.send(requests));
    for (int i = 0; i < 10; ++i) REQUIRE(client.read_response().body == "hello\n");
  }
  SECTION("a record for each byte of a request") {
    for (const char byte : get_request("/hello")) REQUIRE(client.send(std::string(1, byte)));
    CHECK(client.read_response().body == "hello\n");
  }
  SECTION("a request begins in the record of another one's body") {
    // The body streams (it is longer than what is collected); its reader takes 4 KiB at a time and
    // leaves the last record's rest to TLS, and no event of the socket tells of it.
    const std::string body = pattern(100'000);
    for (int i = 0; i < 20; ++i) {
      REQUIRE(client.send(post("/echo", body) + get_request("/hello")));
      CHECK(client.read_response().body == body);
      CHECK(client.read_response().body == "hello\n");
    }
  }
  SECTION("a body that nobody reads, and the next request in its last record") {
    REQUIRE(client.send(post("/noread", pattern(100'000)) + get_request("/hello")));
    CHECK(client.read_response().body == "unread\n");
    CHECK(client.read_response().body == "hello\n");
  }
  SECTION("a chunked body and the next request in one record") {
    REQUIRE(
        client.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" +
                    get_request("/hello")));
    CHECK(client.read_response().body == "abcde");
    CHECK(client.read_response().body == "hello\n");
  }
  SECTION("more requests than are read in one turn") {
    std::string requests;
    for (int i = 0; i < 5000; ++i) requests += get_request("/hello");
    for (std::size_t at = 0; at < requests.size(); at += 16'000) {
      REQUIRE(client.send(std::string_view(requests).substr(at, 16'000)));
    }
    for (int i = 0; i < 5000; ++i) REQUIRE(client.read_response().body == "hello\n");
  }
  CHECK(eventually([&] { return server.stats().connections.idle == 1; }));
}

TEST_CASE("TLS: an Expect is answered before the body is sent") {
  TlsServer server;
  TlsClient client = server.connect();
  REQUIRE(client.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
  CHECK(client.read_response().status == 100);
  REQUIRE(client.send("abc"));
  CHECK(client.read_response().body == "abc");
}

TEST_CASE(
    "TLS: a busy connection that becomes quiet is served again, and closed at idle, not before") {
  TlsServer server({.server = [](http::ServerOptions& options) { options.idle_timeout = 2500ms; }});
  TlsClient client = server.connect();
  for (int i = 0; i < 20; ++i) CHECK(server.get(client, "/hello") == "200 hello\n");
  CHECK_FALSE(client.closed_within(1500ms));  // past its quiet second
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) CHECK(server.get(client, "/hello") == "200 hello\n");
  CHECK(client.closed_within(10s));
  CHECK(client.said_end());
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(took >= 2500ms);
  CHECK(took < 5s);
  CHECK(server.stats().timeouts.idle == 1);
}

TEST_CASE("P4.5: 48 MiB down and 16 MiB up arrive as they were sent") {
  const std::string down = pattern(48 << 20);
  const std::string up = pattern(16 << 20);
  std::atomic<bool> up_is_good{false};
  TlsServer server({.add = [&](Router& router) {
    REQUIRE(router
                .handle("GET /down",
                        [&](ResponseWriter& response, Request&) { (void)response.write(down); })
                .ok());
    REQUIRE(router
                .handle("POST /up",
                        [&](ResponseWriter& response, Request& request) {
                          const Result<std::string> body = request.read_all(16 << 20);
                          up_is_good = body.ok() && *body == up;
                          (void)response.write("got it");
                        })
                .ok());
  }});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client = server.connect({.version_max = version});
    REQUIRE(client.send(get_request("/down")));
    CHECK(client.read_response().body == down);
    up_is_good = false;
    REQUIRE(client.send(post("/up", up)));
    CHECK(client.read_response().body == "got it");
    CHECK(up_is_good);
  }
}

TEST_CASE("TLS: responses that the client is slow to take are flushed by the poller, whole") {
  const std::string body = pattern(10'000);
  TlsServer server({.add = [&](Router& router) {
    REQUIRE(router
                .handle("GET /body",
                        [&](ResponseWriter& response, Request&) { (void)response.write(body); })
                .ok());
  }});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client = server.connect({.version_max = version, .receive_buffer_bytes = 4096});
    std::string requests;
    constexpr int kRequests = 2000;
    for (int i = 0; i < kRequests; ++i) requests += get_request("/body");
    for (std::size_t at = 0; at < requests.size(); at += 16'000) {
      REQUIRE(client.send(std::string_view(requests).substr(at, 16'000)));
    }
    REQUIRE(eventually([&] { return server.stats().connections.flushing == 1; }));
    for (int i = 0; i < kRequests; ++i) REQUIRE(client.read_response().body == body);
  }
}

TEST_CASE("TLS: a connection whose response is whole ends with close_notify, a cut one without") {
  SECTION("closed at the client's wish") {
    TlsServer server;
    TlsClient client = server.connect();
    REQUIRE(client.send(get_request("/hello", "Connection: close\r\n")));
    CHECK(client.read_response().body == "hello\n");
    CHECK(client.closed_within(1s));
    CHECK(client.said_end());
  }
  SECTION("refused") {
    TlsServer server;
    TlsClient client = server.connect();
    REQUIRE(client.send("GET / HTTP/9.9\r\n\r\n"));
    CHECK(client.read_response().status == 505);
    CHECK(client.closed_within(1s));
    CHECK(client.said_end());
  }
  SECTION("idle for too long") {
    TlsServer server({.server = [](ServerOptions& options) { options.idle_timeout = 200ms; }});
    TlsClient client = server.connect();
    REQUIRE(server.get(client, "/hello") == "200 hello\n");
    CHECK(client.closed_within(2s));
    CHECK(client.said_end());
  }
  SECTION("P2.3: cut at the write deadline") {
    TlsServer server({.server = [](ServerOptions& options) { options.write_timeout = 300ms; }});
    TlsClient client = server.connect();
    REQUIRE(client.send(get_request("/big?n=268435456")));
    REQUIRE(eventually([&] { return server.server->write_errors == 1; }));
    (void)client.read_to_end();
    CHECK(client.ended());
    CHECK_FALSE(client.said_end());
    CHECK(server.stats().timeouts.write > 0);
  }
}

TEST_CASE("P1.21: a body that ends early is an error to the handler, said or unsaid") {
  Notes notes;
  TlsServer server({.add = [&](Router& router) {
    REQUIRE(router
                .handle("POST /take",
                        [&](ResponseWriter& response, Request& request) {
                          const Result<std::string> body = request.read_all(1 << 20);
                          notes.add(body);
                          if (!body) return write_error(response, 400, "half a body");
                          (void)response.write("taken");
                        })
                .ok());
  }});
  TlsClient client = server.connect();
  // More than what is collected before a handler starts.
  REQUIRE(client.send("POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" +
                      pattern(70'000)));
  SECTION("close_notify") { client.say_end(); }
  SECTION("the connection's end without it") { client.half_close(); }
  SECTION("a broken record") {
    REQUIRE(client.send_raw(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x')));
  }
  CHECK(client.read_to_end().find("taken") == std::string::npos);
  CHECK(client.ended());
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(notes.take() == "closed");
}

TEST_CASE(
    "TLS: a client that says its end in the record behind its request is answered, then closed") {
  TlsServer server;
  TlsClient client = server.connect();
  REQUIRE(client.send(get_request("/hello")));
  client.say_end();
  CHECK(client.read_response().body == "hello\n");
  CHECK(client.closed_within(2s));
  CHECK(client.said_end());
}

TEST_CASE("TLS: changed keys disturb nothing, however many") {
  TlsServer server;
  TlsClient client = server.connect();
  for (int i = 0; i < 5; ++i) {
    client.update_keys();
    REQUIRE(server.get(client, "/hello") == "200 hello\n");
  }
  for (int i = 0; i < 2000; ++i) client.update_keys();
  CHECK(server.get(client, "/hello") == "200 hello\n");

  // It was no request that came: the shutdown does not wait for one.
  client.update_keys();
  const ShutdownReport report = (*server.server)->shutdown(SystemClock().now() + 5s);
  CHECK(report.complete());
  CHECK(client.closed_within(1s));
}

TEST_CASE("P3.8: a client that is gone raises no signal, and nobody's disposition is changed") {
  struct sigaction before {};
  REQUIRE(::sigaction(SIGPIPE, nullptr, &before) == 0);
  REQUIRE(before.sa_handler == SIG_DFL);  // it would end this program
  TlsServer server;
  for (int i = 0; i < 20; ++i) {
    TlsClient client = server.connect();
    REQUIRE(client.send(get_request("/big?n=50000000")));
    REQUIRE(client.receive());
    client.reset_on_close();
    client.close();
  }
  CHECK(eventually([&] { return server.server->write_errors == 20; }));
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  struct sigaction after {};
  REQUIRE(::sigaction(SIGPIPE, nullptr, &after) == 0);
  CHECK(after.sa_handler == SIG_DFL);
}

TEST_CASE("TLS: the client's going stops the handler's token") {
  TlsServer server;
  TlsClient client = server.connect();
  REQUIRE(client.send(get_request("/stop")));
  REQUIRE(eventually([&] { return server.stats().connections.handling == 1; }));
  client.close();
  CHECK(eventually([&] { return server.server->stopped == 1; }));
}

TEST_CASE(
    "P2.4: a head that drips over TLS gets 408 at its deadline, counted from the handshake's end") {
  TlsServer server({.server = [](ServerOptions& options) { options.read_header_timeout = 300ms; }});
  TlsClient client = server.connect();
  REQUIRE(client.send("GET / HT"));
  CHECK(client.read_response().status == 408);
  CHECK(client.closed_within(1s));
  TlsClient silent = server.connect();
  REQUIRE(silent.shaken());
  CHECK(silent.closed_within(1500ms));
  CHECK(silent.said_end());
}

TEST_CASE("P4.9: a hijacked TLS connection reads and writes through TLS, buffered bytes first") {
  TlsServer server({.add = [](Router& router) {
    REQUIRE(router
                .handle("GET /chat",
                        [](ResponseWriter& response, Request&) {
                          Result<HijackedConnection> chat = response.hijack();
                          if (!chat) return write_error(response, 500, chat.error().message());
                          char bytes[4096];
                          const auto deadline = [] { return SystemClock().now() + 10s; };
                          while (true) {
                            const Result<std::size_t> got = chat->read(bytes, deadline());
                            if (!got || *got == 0) return;
                            if (!chat->write({bytes, *got}, deadline())) return;
                          }
                        })
                .ok());
  }});
  TlsClient client = server.connect();
  REQUIRE(client.send(get_request("/chat") + "first"));
  CHECK(read_exactly(client, 5) == "first");
  for (int i = 0; i < 100; ++i) {
    const std::string line = "line " + std::to_string(i);
    REQUIRE(client.send(line));
    REQUIRE(read_exactly(client, line.size()) == line);
  }
  client.say_end();
  CHECK(client.closed_within(2s));
  CHECK(client.said_end());
  CHECK(eventually([&] { return server.stats().connections.hijacked == 0; }));
}

TEST_CASE("TLS: one thread reads a hijacked connection while another one writes it") {
  constexpr std::size_t kBytes = 8 << 20;
  const std::string up = pattern(kBytes);
  const std::string down = pattern(kBytes + 1).substr(1);
  std::atomic<bool> up_is_good{false};
  std::atomic<bool> down_is_out{false};
  TlsServer server({.add = [&](Router& router) {
    REQUIRE(router
                .handle("GET /both",
                        [&](ResponseWriter& response, Request&) {
                          Result<HijackedConnection> both = response.hijack();
                          if (!both) return;
                          const MonotonicTime deadline = SystemClock().now() + 30s;
                          std::thread writer(
                              [&] { down_is_out = both->write(down, deadline).ok(); });
                          std::string got(kBytes, '\0');
                          std::size_t size = 0;
                          while (size < kBytes) {
                            const auto more =
                                both->read(std::span(got).subspan(
                                               size, std::min<std::size_t>(kBytes - size, 50'000)),
                                           deadline);
                            if (!more || *more == 0) break;
                            size += *more;
                          }
                          up_is_good = got == up;
                          writer.join();
                        })
                .ok());
  }});
  TlsClient client = server.connect();
  REQUIRE(client.send(get_request("/both")));
  // Both directions at once: what comes is taken between the parts that are sent.
  std::string received;
  for (std::size_t at = 0; at < up.size(); at += 64'000) {
    REQUIRE(client.send(std::string_view(up).substr(at, 64'000)));
    received += client.read_some();
  }
  while (received.size() < down.size()) {
    const std::string more = client.read_some();
    if (more.empty()) break;
    received += more;
  }
  CHECK(received == down);
  CHECK(client.closed_within(5s));
  CHECK(up_is_good);
  CHECK(down_is_out);
}

TEST_CASE("P4.6: a shutdown ends a hijacked TLS connection at its deadline") {
  Notes notes;
  TlsServer server({.add = [&](Router& router) {
    REQUIRE(router
                .handle("GET /wait",
                        [&](ResponseWriter& response, Request&) {
                          Result<HijackedConnection> held = response.hijack();
                          char bytes[16];
                          notes.add(held->read(bytes, SystemClock().now() + 30s));
                        })
                .ok());
  }});
  TlsClient client = server.connect();
  REQUIRE(client.send(get_request("/wait")));
  REQUIRE(eventually([&] { return server.stats().connections.hijacked == 1; }));
  const ShutdownReport report = (*server.server)->shutdown(SystemClock().now() + 200ms);
  CHECK(report.hijacked_forced == 1);
  CHECK(client.closed_within(2s));
  CHECK(eventually([&] { return server.stats().connections.hijacked == 0; }));
  CHECK(notes.take() == "closed");
}
