// PUB-1: what must be served, however it is cut, with the next request beginning where it should;
// and what answers look like. Who ends the connection, and when: http_battery_connection_test.

#include "tests/integration/http_battery.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

TEST_CASE("battery P1.1: requests that are served") {
  Demo demo;
  check_rows(
      demo.address(),
      {
          {"P1.1 plain", get(""), {200}, After::kOpen, kHello},
          {"P1.1 no space behind the colon",
           "GET /hello HTTP/1.1\r\nHost:x\r\n\r\n",
           {200},
           After::kOpen,
           kHello},
          {"P1.1 white space around values",
           get("A:\t b \t\r\nB:   \r\nC: \t\r\n"),
           {200},
           After::kOpen,
           kHello},
          {"P1.1 white space around Host",
           "GET /hello HTTP/1.1\r\nHost: \t x \t\r\n\r\n",
           {200},
           After::kOpen,
           kHello},
          {"P1.1 inner tab", get("A: b\tc\r\n"), {200}, After::kOpen, kHello},
          {"P1.1 bytes above ASCII", get("A: \xc3\xa9\xff\r\n"), {200}, After::kOpen, kHello},
          {"P1.1 colons in a value", get("A: b:c: d\r\n"), {200}, After::kOpen, kHello},
          {"P1.1 all token bytes",
           get("!#$%&'*+-.^_`|~09azAZ: x\r\n"),
           {200},
           After::kOpen,
           kHello},
          {"P1.1 one empty line before", "\r\n" + get(""), {200}, After::kOpen, kHello},
          {"P1.1 repeated field", get("A: b\r\nA: b\r\n"), {200}, After::kOpen, kHello},
          {"P1.1 Upgrade",
           get("Connection: upgrade\r\nUpgrade: h2c\r\n"),
           {200},
           After::kOpen,
           kHello},
          {"P1.1 Upgrade with a body",
           post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", "hello"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.1 length", post("Content-Length: 5\r\n", "hello"), {200}, After::kOpen, "hello"},
          {"P1.1 PUT",
           "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
           {200},
           After::kOpen,
           "hi"},
          {"P1.1 body with line ends",
           post("Content-Length: 6\r\n", "\r\n\r\n\r\n"),
           {200},
           After::kOpen,
           "\r\n\r\n\r\n"},
          {"P1.1 HTTP/1.0", "GET /hello HTTP/1.0\r\n\r\n", {200}, After::kClosed, kHello},
          {"P1.1 HTTP/1.0 with Host",
           "GET /hello HTTP/1.0\r\nHost: x\r\n\r\n",
           {200},
           After::kClosed,
           kHello},
          {"P1.6 port",
           "GET /hello HTTP/1.1\r\nHost: x.example:65535\r\n\r\n",
           {200},
           After::kOpen,
           kHello},
          {"P1.6 IPv6",
           "GET /hello HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
           {200},
           After::kOpen,
           kHello},
          {"P1.6 any case", "GET /hello HTTP/1.1\r\nhOsT: x\r\n\r\n", {200}, After::kOpen, kHello},
          {"P1.7 absolute form",
           "GET http://y/hello HTTP/1.1\r\nHost: x\r\n\r\n",
           {200},
           After::kOpen,
           kHello},
          {"P1.7 absolute form, scheme in any case",
           "GET HTTP://y:80/hello HTTP/1.1\r\nHost: x\r\n\r\n",
           {200},
           After::kOpen,
           kHello},
          {"P1.7 absolute form, query",
           "GET http://y/hello?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
           {200},
           After::kOpen,
           kHello},
          {"P1.8 known method, other route",
           "DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n",
           {405},
           After::kOpen},
          {"P1.8 extension method",
           "PROPFIND /hello HTTP/1.1\r\nHost: x\r\n\r\n",
           {405},
           After::kOpen},
          {"P1.8 SOURCE, which llhttp knows",
           "SOURCE /hello HTTP/1.1\r\nHost: x\r\n\r\n",
           {405},
           After::kOpen},
          {"P1.8 OPTIONS *",
           "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
           {200, 204, 404, 405},
           After::kOpen},
          {"P1.10 coding in any case",
           post("Transfer-Encoding: ChUnKeD\r\n", "5\r\nhello\r\n0\r\n\r\n"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.10 coding with white space",
           post("Transfer-Encoding: \tchunked\t \r\n", "5\r\nhello\r\n0\r\n\r\n"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.11 leading zeros",
           post("Content-Length: 0005\r\n", "hello"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.11 white space",
           post("Content-Length: \t5 \r\n", "hello"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.11 zero", post("Content-Length: 0\r\n"), {200}, After::kOpen},
          {"P1.12 chunks",
           chunked("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
           {200},
           After::kOpen,
           "hello!"},
          {"P1.12 upper-case hex, zeros",
           chunked("00A\r\n0123456789\r\n000\r\n\r\n"),
           {200},
           After::kOpen,
           "0123456789"},
          {"P1.12 16 digits",
           chunked("0000000000000005\r\nhello\r\n0\r\n\r\n"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.12 no data", chunked("0\r\n\r\n"), {200}, After::kOpen},
          {"P1.12 data that looks like chunks",
           chunked("5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
           {200},
           After::kOpen,
           "0\r\n\r\n"},
          {"P1.13 extension",
           chunked("5;a=b\r\nhello\r\n0;c\r\n\r\n"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.13 quoted extension",
           chunked("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.17 no length", post(""), {200}, After::kOpen},
          {"P1.22 escape", get("", "/h%65llo"), {200}, After::kOpen, kHello},
          {"P1.22 query is not looked at", get("", "/hello?%zz"), {200, 400}, After::kOpen},
          {"P1.22 decoded once", get("", "/h%2565llo"), {404}, After::kOpen},
          {"P1.22 header values stay as they are",
           get("A: %00%zz\r\n"),
           {200},
           After::kOpen,
           kHello},
          {"P1.26 a body is not inflated",
           post("Content-Encoding: gzip\r\nContent-Length: 5\r\n", "hello"),
           {200},
           After::kOpen,
           "hello"},
      });
}

TEST_CASE("battery P1.16: a body with a request in it, on methods and routes that expect none") {
  Demo demo;
  const std::string inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string length = "Content-Length: " + std::to_string(inner.size()) + "\r\n";
  const std::string coding = "Transfer-Encoding: chunked\r\n";
  const std::string chunks = "23\r\n" + inner + "\r\n0\r\n\r\n";
  REQUIRE(inner.size() == 0x23);
  const std::string next = get("Connection: close\r\n");
  // `cut`: where the client pauses. A chunked body that is not there when the handler returns is
  // not waited for: the connection may end.
  const auto check_one = [&](const std::string& bytes, std::size_t cut) {
    const Answers answers =
        exchange(demo.address(), {bytes.substr(0, cut), bytes.substr(cut) + next},
                 bytes.starts_with("HEAD "));
    INFO("cut at " << cut << ": " << bytes);
    CHECK(answers.ended);
    CHECK(answers.left.empty());
    REQUIRE(!answers.finals.empty());
    REQUIRE(answers.finals.size() <= 2);
    if (cut == bytes.size()) CHECK(answers.finals.size() == 2);
    // Not the 404 of the request inside the body.
    if (answers.finals.size() == 2) CHECK(answers.finals[1].body == kHello);
  };
  for (const std::string method : {"GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT"}) {
    for (const std::string target : {"/hello", "/noread", "/nowhere", "/alloc"}) {
      const std::string line = method + " " + target + " HTTP/1.1\r\nHost: x\r\n";
      for (const std::string& bytes :
           {line + length + "\r\n" + inner, line + coding + "\r\n" + chunks}) {
        for (std::size_t cut = 1; cut < bytes.size(); cut += 7) check_one(bytes, cut);
        check_one(bytes, bytes.size());
      }
    }
  }
}

TEST_CASE(
    "battery P1.16: unread bodies are skipped up to 256 KiB, a longer one ends the connection") {
  Demo demo;
  const auto noread = [](std::size_t size) {
    return "POST /noread HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(size) +
           "\r\n\r\n" + std::string(size, 'x');
  };
  check_rows_whole(demo.address(), {
                                       {"P1.16 100 kB", noread(100'000), {200}, After::kOpen},
                                       {"P1.16 256 KiB", noread(262'144), {200}, After::kOpen},
                                       {"P1.16 4 MiB", noread(4 << 20), {200}, After::kClosed},
                                   });
}

TEST_CASE("battery P1.24, P1.25: what answers carry") {
  Demo demo;
  const auto one = [&](const std::string& request, bool head = false) {
    const Answers answers =
        exchange(demo.address(), {request + get("Connection: close\r\n")}, head);
    INFO(request);
    REQUIRE(answers.finals.size() == 2);
    CHECK(answers.finals[1].body == kHello);
    CHECK(answers.finals[0].head.find("\r\nDate: ") != std::string::npos);
    return answers.finals[0];
  };
  const Answer thrown = one(get("", "/throw"));
  CHECK(thrown.status == 500);
  CHECK(thrown.body.find("throws") == std::string::npos);
  CHECK(thrown.head.find("throws") == std::string::npos);
  CHECK(one(get("", "/nowhere")).status == 404);
  const Answer refused = one("DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(refused.status == 405);
  CHECK(refused.head.find("\r\nAllow: ") != std::string::npos);
  const Answer head = one("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n", true);
  CHECK(head.status == 200);
  CHECK(head.has("Content-Length: 13"));
  CHECK(one("HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", true).status == 404);
  CHECK(one("HEAD /throw HTTP/1.1\r\nHost: x\r\n\r\n", true).status == 500);
  CHECK(one("HEAD /big?n=1000000 HTTP/1.1\r\nHost: x\r\n\r\n", true).status == 200);
  CHECK(one(get("", "//hello")).status / 100 == 3);
}

TEST_CASE("battery P1.22: dot segments and escapes never leave the root") {
  Demo demo;
  for (const char* target :
       {"/../hello", "/../../../../etc/passwd", "/a/../../hello", "/./hello", "//hello",
        "/hello/..", "/%2e%2e/hello", "/..%2fhello", "/%2e%2e%2f%2e%2e%2fetc/passwd", "/..;/hello",
        "/...", "//evil.example/hello", "/%2f/evil.example", "/\\evil.example",
        "///evil.example/%2e%2e"}) {
    const Answers answers = exchange(demo.address(), {get("Connection: close\r\n", target)});
    INFO(target);
    REQUIRE(answers.finals.size() == 1);
    const Answer& answer = answers.finals[0];
    INFO(answer.head);
    CHECK((answer.status / 100 == 3 || answer.status == 404 || answer.status == 400));
    const std::size_t at = answer.head.find("\r\nLocation: ");
    if (answer.status / 100 == 3) {
      REQUIRE(at != std::string::npos);
      // A path of this server: one slash, and no other host behind two.
      CHECK(answer.head[at + 12] == '/');
      CHECK(answer.head[at + 13] != '/');
      CHECK(answer.head[at + 13] != '\\');
    }
  }
}

TEST_CASE("battery P1.27: a client cannot choose its own address") {
  Demo demo({"--max-connections-per-ip=1"});
  const char* const fields =
      "X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n"
      "REMOTE_ADDR: 10.0.0.1\r\nRemote-Addr: 10.0.0.1\r\nTrue-Client-IP: 10.0.0.1\r\n";
  RawClient first(demo.address());
  REQUIRE(first.send(get(fields)));
  CHECK(first.read_response().status == 200);
  RawClient second(demo.address());
  (void)second.send(get(fields));
  CHECK(second.read_response().status == 503);
  RawClient other(demo.address(), 0, "127.0.0.2");
  REQUIRE(other.send(get("X-Forwarded-For: 127.0.0.1\r\n")));
  CHECK(other.read_response().status == 200);
}

}  // namespace
}  // namespace vigil::test
