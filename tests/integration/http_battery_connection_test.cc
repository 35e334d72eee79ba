// PUB-1: several requests on a connection, whose end it is, and what ends before it is whole.

#include "tests/integration/http_battery.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

using namespace std::string_literals;

TEST_CASE("battery P1.18: pipelined requests") {
  Demo demo;
  std::string ten, mixed;
  for (int i = 0; i < 9; ++i) {
    ten += get("");
    mixed += i % 3 == 0   ? get("")
             : i % 3 == 1 ? post("Content-Length: 5\r\n", "hello")
                          : chunked("5\r\nhello\r\n0\r\n\r\n");
  }
  check_rows_whole(
      demo.address(),
      {
          {"P1.18 ten", ten + get(""), {200}, After::kOpen, kHello, 9},
          {"P1.18 ten of three kinds", mixed + get(""), {200}, After::kOpen, kHello, 9},
          {"P1.18 garbage behind one", get("") + "\x01\x02\r\n\r\n", {400}, After::kClosed, "", 1},
          {"P1.18 garbage behind nine",
           ten + "G/T / HTTP/1.1\r\n\r\n",
           {400},
           After::kClosed,
           "",
           9},
          {"P1.18 garbage behind a body",
           post("Content-Length: 5\r\n", "helloX: y\r\n\r\n"),
           {400},
           After::kClosed,
           "",
           1},
          {"P1.18 garbage behind chunks",
           chunked("0\r\n\r\n") + "0\r\n\r\n",
           {400},
           After::kClosed,
           "",
           1},
          {"P1.18 doubtful framing behind one",
           get("") + post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
           {400},
           After::kClosed,
           "",
           1},
          {"P1.18 behind close",
           get("Connection: close\r\n") + get(""),
           {200},
           After::kClosed,
           kHello},
          {"P1.18 behind HTTP/1.0",
           "GET /hello HTTP/1.0\r\n\r\n" + get(""),
           {200},
           After::kClosed,
           kHello},
          {"P1.18 an empty line between",
           get("") + "\r\n" + get(""),
           {200},
           After::kOpen,
           kHello,
           1},
      });
}

TEST_CASE("battery P1.19: who closes") {
  Demo demo;
  const auto http10 = [](const std::string& fields) {
    return "GET /hello HTTP/1.0\r\n" + fields + "\r\n";
  };
  std::vector<Row> rows;
  for (const char* value : {"close", "Close", "CLOSE", "cLoSe", "x, close", "close, x", "x,close,y",
                            "close,", ",close", " close ", "keep-alive, close", "close, keep-alive",
                            "x\t,\tclose", ",,close,,", "Upgrade, close"}) {
    rows.push_back(
        {"P1.19 "s + value, get("Connection: "s + value + "\r\n"), {200}, After::kClosed, kHello});
    rows.push_back({"P1.19 HTTP/1.0 "s + value,
                    http10("Connection: "s + value + "\r\n"),
                    {200},
                    After::kClosed,
                    kHello});
  }
  for (const char* value :
       {"", "keep-alive", "x", "closed", "xclose", "clo se", "close-x", "x close y"}) {
    rows.push_back({"P1.19 not "s + value,
                    get("Connection: "s + value + "\r\n"),
                    {200},
                    After::kOpen,
                    kHello});
  }
  rows.push_back({"P1.19 second line",
                  get("Connection: x\r\nConnection: close\r\n"),
                  {200},
                  After::kClosed,
                  kHello});
  rows.push_back({"P1.19 first line",
                  get("Connection: close\r\nConnection: x\r\n"),
                  {200},
                  After::kClosed,
                  kHello});
  rows.push_back(
      {"P1.19 HTTP/1.0 other", http10("Connection: x\r\n"), {200}, After::kClosed, kHello});
  rows.push_back({"P1.19 HTTP/1.0 Keep-Alive field alone",
                  http10("Keep-Alive: 1\r\n"),
                  {200},
                  After::kClosed,
                  kHello});
  for (const char* value : {"keep-alive", "Keep-Alive", "KEEP-ALIVE", "x, keep-alive"}) {
    rows.push_back({"P1.19 HTTP/1.0 "s + value,
                    http10("Connection: "s + value + "\r\n"),
                    {200},
                    After::kOpen,
                    kHello});
  }
  check_rows_whole(demo.address(), rows);

  const Answers streamed =
      exchange(demo.address(), {"GET /big?n=100000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"});
  REQUIRE(streamed.finals.size() == 1);
  CHECK(streamed.finals[0].head.find("chunked") == std::string::npos);
  CHECK(streamed.finals[0].has("Connection: close"));
  CHECK(streamed.finals[0].body.size() == 100'000);
}

TEST_CASE("battery P1.20: expectations") {
  Demo demo;
  std::vector<Row> rows;
  for (const char* value :
       {"x", "200-ok", "100", "100-continu", "100-continue, x", "100-continue;q=1",
        "100-continue, 100-continue", "\"100-continue\"", ""}) {
    rows.push_back({"P1.20 "s + value,
                    post("Content-Length: 5\r\nExpect: "s + value + "\r\n", "hello"),
                    {417}});
  }
  rows.push_back(
      {"P1.20 two lines",
       post("Content-Length: 5\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n", "hello"),
       {400, 417}});
  rows.push_back({"P1.20 without a body", get("Expect: x\r\n"), {417}});
  check_rows_whole(demo.address(), rows);

  const auto interims = [&](const std::string& request) {
    RawClient client(demo.address());
    (void)client.send(request);
    client.half_close();
    while (client.receive()) {
    }
    return split_answers(client.take_received(), false);
  };
  for (const char* value : {"100-continue", "100-Continue", "100-CONTINUE", "\t100-continue "}) {
    const std::string expect = "Connection: close\r\nExpect: "s + value + "\r\n";
    INFO(value);
    const Answers length = interims(post("Content-Length: 5\r\n" + expect, "hello"));
    REQUIRE(length.finals.size() == 1);
    CHECK(length.finals[0].body == "hello");
    CHECK(length.interims == 1);
    const Answers coded = interims(post("Transfer-Encoding: chunked\r\n" + expect, "0\r\n\r\n"));
    CHECK(coded.interims == 1);
  }
  const std::string expect = "Expect: 100-continue\r\n";
  const Answers too_long = interims(post("Content-Length: 16777217\r\n" + expect));
  REQUIRE(too_long.finals.size() == 1);
  CHECK(too_long.finals[0].status == 413);
  CHECK(too_long.interims == 0);
  const Answers http10 =
      interims("POST /echo HTTP/1.0\r\nContent-Length: 5\r\n" + expect + "\r\nhello");
  REQUIRE(http10.finals.size() == 1);
  CHECK(http10.finals[0].body == "hello");
  CHECK(http10.interims == 0);
  const Answers nobody = interims(post("Content-Length: 0\r\nConnection: close\r\n" + expect));
  REQUIRE(nobody.finals.size() == 1);
  CHECK(nobody.interims == 0);
  // A handler that does not read: no 100, and what the client then does or does not send is not
  // taken for a request.
  const Answers unread =
      exchange(demo.address(), {"POST /noread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" +
                                expect + "\r\n" + get("", "/smuggled")});
  REQUIRE(unread.finals.size() == 1);
  CHECK(unread.interims == 0);
  CHECK(unread.finals[0].has("Connection: close"));
}

TEST_CASE("battery P1.21: what ends early is no request") {
  Demo demo;
  const auto cut_short = [&](const std::string& bytes) {
    RawClient client(demo.address());
    (void)client.send(bytes);
    client.half_close();
    while (client.receive()) {
    }
    CHECK(client.ended());
    return client.take_received();
  };
  const std::string whole_get = get(""), whole_post = post("Content-Length: 5\r\n", "hello");
  const std::string whole_chunked = chunked("5\r\nhello\r\n0\r\nA: b\r\n\r\n");
  for (const std::string& whole : {whole_get, whole_post, whole_chunked}) {
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
      const std::string got = cut_short(whole.substr(0, cut));
      INFO(Catch::Detail::stringify(whole.substr(0, cut)) << " -> " << got);
      CHECK(got.find(" 200 ") == std::string::npos);
    }
    // The twin: whole, and then the end of the client's side. It is answered.
    CHECK(cut_short(whole).find(" 200 ") != std::string::npos);
  }
  // Larger than every buffer, so that the response's head is out: it must not look complete.
  for (const std::string& part :
       {post("Content-Length: 1000000\r\n", std::string(500'000, 'x')),
        chunked("f4240\r\n" + std::string(500'000, 'x')),
        chunked("7a120\r\n" + std::string(500'000, 'x') + "\r\n"),
        chunked("7a120\r\n" + std::string(500'000, 'x') + "\r\nx\r\n" + get("", "/smuggled"))}) {
    const Answers answers = split_answers(cut_short(part), false);
    INFO(part.substr(0, 100));
    CHECK((answers.finals.empty() || answers.finals[0].status >= 400));
  }
}

}  // namespace
}  // namespace vigil::test
