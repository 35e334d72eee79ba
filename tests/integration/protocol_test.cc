// The demo's routes beyond one answer to one request: a tunnel, early hints, trailers, forms.

#include <csignal>
#include <thread>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/raw_client.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

const std::string kUpgrade =
    "GET /raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: line-echo\r\n\r\n";

std::string read_until(RawClient& client, std::string_view end) {
  std::string text;
  while (text.find(end) == std::string::npos && !client.ended()) text += client.read_some();
  return text;
}

TEST_CASE("P4.9: the tunnel has the bytes that came with its request, and every line after them") {
  Demo demo;
  RawClient client(demo.address());
  REQUIRE(client.send(kUpgrade + "first\nsec"));
  CHECK(client.read_response().status == 101);
  CHECK(read_until(client, "first\n") == "first\n");
  REQUIRE(client.send("ond\nbye\nafter\n"));
  CHECK(read_until(client, "bye\n") == "second\nbye\n");
  CHECK(client.closed_within(2s));
}

TEST_CASE("without the upgrade the tunnel answers 426 and says which it wants") {
  Demo demo;
  RawClient client(demo.address());
  REQUIRE(client.send("GET /raw HTTP/1.1\r\nHost: x\r\n\r\n"));
  const RawResponse answer = client.read_response();
  CHECK(answer.status == 426);
  CHECK(answer.header("upgrade") == "line-echo");
  CHECK(answer.header("connection") == "Upgrade");
}

TEST_CASE("an upgrade that HTTP/1.0, HEAD or a missing Connection asks for is none") {
  Demo demo;
  for (const char* head : {"GET /raw HTTP/1.0\r\nConnection: Upgrade, close\r\n",
                           "GET /raw HTTP/1.1\r\nConnection: close\r\nHost: x\r\n",
                           "HEAD /raw HTTP/1.1\r\nConnection: Upgrade, close\r\nHost: x\r\n"}) {
    INFO(head);
    RawClient client(demo.address());
    REQUIRE(client.send(std::string(head) + "Upgrade: line-echo\r\n\r\n"));
    CHECK(client.read_to_end().find(" 426 Upgrade Required\r\n") == 8);
  }
}

TEST_CASE("P4.6: a tunnel whose peer does not read does not hold up the shutdown") {
  Demo demo({"--shutdown-timeout=30s"});
  RawClient client(demo.address(), 4096);
  REQUIRE(client.send(kUpgrade));
  CHECK(client.read_response().status == 101);
  // More than both sides' buffers take: the tunnel ends up inside send().
  std::string lines;
  while (lines.size() < std::size_t{32} << 20) lines.append(1000, 'x').append("\n");
  std::thread sender([&] { (void)client.send(lines); });
  const std::string dump = demo.debug_get_until("/debug/pprof/goroutine?debug=2", "send_all");
  const auto begin = std::chrono::steady_clock::now();
  demo.process().kill(SIGTERM);
  const Finished finished = demo.process().wait(20s);
  const auto took = std::chrono::steady_clock::now() - begin;
  sender.join();
  CHECK(dump.find("send_all") != std::string::npos);
  CHECK(finished.exit_status == 0);
  CHECK(took < 5s);
}

TEST_CASE("a line that never ends ends the tunnel") {
  Demo demo;
  RawClient client(demo.address());
  REQUIRE(client.send(kUpgrade));
  CHECK(client.read_response().status == 101);
  (void)client.send(std::string(100'000, 'x'));
  CHECK(client.closed_within(5s));
}

TEST_CASE("P4.6: at SIGTERM the tunnel is told, ended, and counted, and the process ends at once") {
  Demo demo({"--shutdown-timeout=10s"});
  RawClient client(demo.address());
  REQUIRE(client.send(kUpgrade + "hello\n"));
  CHECK(client.read_response().status == 101);
  CHECK(read_until(client, "hello\n") == "hello\n");
  const std::string text =
      demo.debug_get_until("/metrics", "vigil_http_hijacked_connections{server=\"main\"} 1");
  CHECK(text.find("vigil_http_hijacked_total{server=\"main\"} 1\n") != std::string::npos);
  const auto begin = std::chrono::steady_clock::now();
  demo.process().kill(SIGTERM);
  CHECK(read_until(client, "down\n") == "the server is going down\n");
  CHECK(client.closed_within(2s));
  CHECK(demo.process().wait(10s).exit_status == 0);
  CHECK(std::chrono::steady_clock::now() - begin < 3s);
  CHECK(demo.process().err().find("\"hijacked_closed\":1") != std::string::npos);
}

TEST_CASE("early hints come before the answer") {
  Demo demo;
  RawClient client(demo.address());
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(client.send("GET /hints?ms=1000 HTTP/1.1\r\nHost: x\r\n\r\n"));
  const RawResponse hints = client.read_response();
  CHECK(std::chrono::steady_clock::now() - begin < 900ms);
  CHECK(hints.status == 103);
  CHECK(hints.header("link") == "</style.css>; rel=preload; as=style");
  CHECK(client.read_response().status == 200);
  CHECK(std::chrono::steady_clock::now() - begin >= 1s);
}

TEST_CASE("the checksum of the lines is in the trailer, and nowhere for HTTP/1.0") {
  Demo demo;
  RawClient client(demo.address());
  REQUIRE(client.send("GET /trailers?n=2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  const std::string text = client.read_to_end();
  CHECK(text.find("\r\nTrailer: X-Checksum\r\n") != std::string::npos);
  // FNV-1a of "line 1\nline 2\n", computed elsewhere.
  CHECK(text.ends_with("\r\n0\r\nX-Checksum: c576d3d59a0fce64\r\n\r\n"));
  RawClient old(demo.address());
  REQUIRE(old.send("GET /trailers?n=2 HTTP/1.0\r\n\r\n"));
  const std::string plain = old.read_to_end();
  CHECK(plain.ends_with("\r\n\r\nline 1\nline 2\n"));
  CHECK(plain.find("Checksum") == std::string::npos);
}

TEST_CASE("a form is decoded, another type is 415, one that is too long 413") {
  Demo demo;
  RawClient client(demo.address());
  const auto post = [&](const std::string& type, const std::string& body) {
    REQUIRE(client.send("POST /form?q=1 HTTP/1.1\r\nHost: x\r\nContent-Type: " + type +
                        "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body));
    return client.read_response();
  };
  const std::string urlencoded = "application/x-www-form-urlencoded";
  CHECK(post(urlencoded, "a=%41+b&c=%c3%a4&bad=%zz").body ==
        "q = 1\na = A b\nc = \xc3\xa4\n(1 malformed)\n");
  CHECK(post("text/plain", "a=1").status == 415);
  CHECK(post(urlencoded, "a=" + std::string(1024 * 1024, 'x')).status == 413);
}

}  // namespace
}  // namespace vigil::test
