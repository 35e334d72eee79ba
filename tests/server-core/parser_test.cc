// The pinned table of what the parser takes and refuses (P9.6): a change here is a change of
// policy. Every input is parsed whole, cut at every byte, and byte by byte, with the same outcome
// (P1.1).
#include <string>
#include <vector>

#include "server-core/request_parser.h"
#include "tests/support/catch.h"

using namespace std::string_literals;
using namespace vigil::http;

namespace {

struct Case {
  const char* why;
  std::string input;
  int status;  // 0: accepted; -1: incomplete
};

// What can be told of a parse.
struct Outcome {
  int status = -1;
  std::string seen;
};

std::string describe(const RequestParser& parser) {
  std::string text;
  text.append(parser.head().method).append(" ").append(parser.head().target);
  text.append(" ").append(http_version_name(parser.head().version));
  for (const HeaderField& field : parser.head().headers) {
    text.append("|").append(field.name).append("=").append(field.value);
  }
  const Framing& framing = parser.framing();
  text += "|length " + std::to_string(framing.content_length);
  if (framing.chunked) text += " chunked";
  if (framing.expect_continue) text += " expect";
  text += framing.keep_alive ? " keep" : " close";
  text += " at " + std::to_string(parser.head_bytes());
  return text;
}

constexpr HeadLimits kLimits{1024, 8};

// Feeds `input` as a connection gets it: growing, and in a new place each time.
Outcome parse_cut(const std::string& input, const std::vector<std::size_t>& ends) {
  RequestParser parser(kLimits);
  HeadScanner scanner;
  for (std::size_t end : ends) {
    const std::string bytes = input.substr(0, end);
    switch (parser.parse(bytes, scanner)) {
      case RequestParser::Status::kIncomplete:
        break;
      case RequestParser::Status::kComplete:
        return {0, describe(parser)};
      case RequestParser::Status::kRefused:
        return {parser.refusal().status, std::string(parser.refusal().reason)};
    }
  }
  return {};
}

void check_every_cut(const Case& test) {
  INFO(test.why << ": " << Catch::Detail::stringify(test.input));
  const Outcome whole = parse_cut(test.input, {test.input.size()});
  CHECK(whole.status == test.status);
  std::vector<std::size_t> each;
  for (std::size_t cut = 1; cut <= test.input.size(); ++cut) {
    each.push_back(cut);
    const Outcome two = parse_cut(test.input, {cut, test.input.size()});
    CHECK(two.status == whole.status);
    CHECK(two.seen == whole.seen);
  }
  const Outcome bytes = parse_cut(test.input, each);
  CHECK(bytes.status == whole.status);
  CHECK(bytes.seen == whole.seen);
}

std::string get(const std::string& fields) {
  return "GET / HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
}
std::string post(const std::string& fields) {
  return "POST / HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
}

}  // namespace

TEST_CASE("P9.6: requests that are served") {
  const std::vector<Case> cases = {
      {"P1.1", get(""), 0},
      {"P1.1 fields", get("A: 1\r\nb:2\r\nEmpty:\r\nSpaces: \t v \t\r\n"), 0},
      {"P1.1 bytes above ASCII in a value", get("A: \xc3\xa9\r\n"), 0},
      {"P1.1 HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 0},
      {"P1.1 one empty line in front", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 0},
      {"P1.6 empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"P1.6 empty Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost:\r\n\r\n", 0},
      {"P1.7 absolute form", "GET http://y:1/p?q HTTP/1.1\r\nHost: x\r\n\r\n", 0},
      {"P1.11 length", post("Content-Length: 5\r\n"), 0},
      {"P1.11 largest length", post("Content-Length: 9223372036854775807\r\n"), 0},
      {"P1.10 chunked in any case", post("Transfer-Encoding: ChUnKeD\r\n"), 0},
      {"P1.10 white space around it", post("Transfer-Encoding: \tchunked\t \r\n"), 0},
      {"P1.16 GET with a length", get("Content-Length: 3\r\n"), 0},
      {"P1.19 close in a list", get("Connection: x, CLOSE\r\n"), 0},
      {"P1.20 any case", post("Content-Length: 1\r\nExpect: 100-Continue\r\n"), 0},
      {"P1.20 ignored in 1.0", "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: x\r\n\r\n", 0},
      {"upgrade is ignored", get("Connection: upgrade\r\nUpgrade: websocket\r\n"), 0},
      {"P1.8 a method that llhttp knows", "PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", 0},
      {"what follows is not looked at", get("") + "\x01\x02", 0},
      {"unfinished", "GET / HTTP/1.1\r\nHost: x\r\n", -1},
  };
  for (const Case& test : cases) check_every_cut(test);
}

TEST_CASE("what is seen of a request") {
  CHECK(parse_cut(post("A:  b c \r\nContent-Length: 5\r\nConnection: Close\r\n") + "hello", {1000})
            .seen ==
        "POST / HTTP/1.1|Host=x|A=b c|Content-Length=5|Connection=Close|length 5 close at 76");
  CHECK(parse_cut("GET / HTTP/1.0\r\nConnection: keep-alive\r\nEmpty:\r\n\r\n", {1000}).seen ==
        "GET / HTTP/1.0|Connection=keep-alive|Empty=|length 0 keep at 50");
  CHECK(parse_cut("GET / HTTP/1.0\r\n\r\n", {1000}).seen == "GET / HTTP/1.0|length 0 close at 18");
}

TEST_CASE("P9.6: framing doubts") {
  const std::vector<Case> cases = {
      {"P1.9", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"P1.9 other order", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400},
      {"P1.9 zero", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"P1.9 unknown coding", post("Content-Length: 5\r\nTransfer-Encoding: x\r\n"), 400},
      {"P1.10 identity", post("Transfer-Encoding: identity\r\n"), 501},
      {"P1.10 gzip", post("Transfer-Encoding: gzip\r\n"), 501},
      {"P1.10 gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n"), 501},
      {"P1.10 chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n"), 501},
      {"P1.10 two lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
       400},
      {"P1.10 empty", post("Transfer-Encoding:\r\n"), 501},
      {"P1.10 quoted", post("Transfer-Encoding: \"chunked\"\r\n"), 501},
      {"P1.10 control byte",
       post("Transfer-Encoding: \x0b"
            "chunked\r\n"),
       400},
      {"P1.10 HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"P1.11 sign", post("Content-Length: +5\r\n"), 400},
      {"P1.11 negative", post("Content-Length: -1\r\n"), 400},
      {"P1.11 hex", post("Content-Length: 0x5\r\n"), 400},
      {"P1.11 space", post("Content-Length: 1 2\r\n"), 400},
      {"P1.11 empty", post("Content-Length:\r\n"), 400},
      {"P1.11 2^63", post("Content-Length: 9223372036854775808\r\n"), 400},
      {"P1.11 wraps", post("Content-Length: 18446744073709551617\r\n"), 400},
      {"P1.11 differing", post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400},
      {"P1.11 equal", post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400},
      {"P1.11 list", post("Content-Length: 5, 5\r\n"), 400},
      {"P1.20 other expectation", post("Content-Length: 1\r\nExpect: 200-ok\r\n"), 417},
  };
  for (const Case& test : cases) check_every_cut(test);
}

TEST_CASE("P9.6: malformed lines") {
  const std::vector<Case> cases = {
      {"P1.2 space before colon", get("Foo : bar\r\n"), 400},
      {"P1.2 tab before colon", get("Foo\t: bar\r\n"), 400},
      {"P1.3 obs-fold", get("Foo: a\r\n b\r\n"), 400},
      {"P1.3 obs-fold with tab", get("Foo: a\r\n\tb\r\n"), 400},
      {"P1.3 before the first field", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400},
      {"P1.4 no colon", get("Foo\r\n"), 400},
      {"P1.4 empty name", get(": x\r\n"), 400},
      {"P1.4 byte in a name", get("F(o: x\r\n"), 400},
      {"P1.4 byte above ASCII in a name", get("F\xc3\xb6: x\r\n"), 400},
      {"P1.5 NUL in a value", get("Foo: a\0b\r\n"s), 400},
      {"P1.5 bare CR in a value", get("Foo: a\rb\r\n"), 400},
      {"P1.5 bare LF in a value", get("Foo: a\nb\r\n"), 400},
      {"P1.5 bare LF as line end", "GET / HTTP/1.1\nHost: x\n\n", 400},
      {"P1.5 bare LF behind the head", "GET / HTTP/1.1\r\nHost: x\r\n\n", 400},
      {"P1.5 bare CR as line end", "GET / HTTP/1.1\rHost: x\r\r", 400},
      {"P1.5 CR CR LF", "GET / HTTP/1.1\r\r\nHost: x\r\n\r\n", 400},
      {"P1.5 DEL", get("Foo: \x7f\r\n"), 400},
      {"P1.5 control byte", get("Foo: \x01\r\n"), 400},
      {"P1.6 missing", "GET / HTTP/1.1\r\n\r\n", 400},
      {"P1.6 two", get("Host: y\r\n"), 400},
      {"P1.6 two equal", get("Host: x\r\n"), 400},
      {"P1.6 space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      {"P1.6 slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"P1.6 user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
      {"P1.6 brace", "GET / HTTP/1.1\r\nHost: {\r\n\r\n", 400},
      {"P1.6 0xff", "GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", 400},
      {"P1.6 invalid in 1.0 too", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400},
  };
  for (const Case& test : cases) check_every_cut(test);
}

TEST_CASE("P9.6: malformed request lines") {
  const std::vector<Case> cases = {
      {"P1.7", "GET / HTTP/0.9\r\n\r\n", 505},
      {"P1.7", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
      {"P1.7", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505},
      {"P1.7", "GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400},
      {"P1.7", "GET / HTTP/01.1\r\nHost: x\r\n\r\n", 400},
      {"P1.7", "GET / http/1.1\r\nHost: x\r\n\r\n", 400},
      {"P1.7", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
      {"P1.7 HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"no version", "GET /\r\n\r\n", 400},
      {"P1.8", "GE(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"P1.8 no method", " / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"P1.8 unknown", "FROB / HTTP/1.1\r\nHost: x\r\n\r\n", 501},
      {"P1.8 RTSP", "DESCRIBE / HTTP/1.1\r\nHost: x\r\n\r\n", 501},
      {"P1.8 HTTP/2's own", "PRI * HTTP/1.1\r\nHost: x\r\n\r\n", 501},
      {"P1.8 RTSP, malformed field", "PLAY / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
      {"P1.8 lower case", "get / HTTP/1.1\r\nHost: x\r\n\r\n", 501},
      {"P1.8 CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501},
      {"P1.8 TRACE", "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 501},
      {"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"tab", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"byte above ASCII in the target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"two empty lines in front", "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"TLS client hello", "\x16\x03\x01\x02"s, 400},
  };
  for (const Case& test : cases) check_every_cut(test);
}

TEST_CASE("P1.15: the head's limits, one before, at and after") {
  // The limit counts every byte up to the empty line's last one.
  const auto with_size = [](std::size_t size) {
    const std::string frame = get("A: \r\n");
    return get("A: " + std::string(size - frame.size(), 'x') + "\r\n");
  };
  check_every_cut({"one below", with_size(1023), 0});
  check_every_cut({"at the limit", with_size(1024), 0});
  check_every_cut({"one above", with_size(1025), 431});
  check_every_cut(
      {"target too long", "GET /" + std::string(1100, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 414});
  check_every_cut({"line that never ends", "GET / HTTP/1.1\r\nA: " + std::string(1100, 'a'), 431});

  std::string fields;
  for (int i = 0; i < 7; ++i) fields += "A: 1\r\n";
  check_every_cut({"eight fields", get(fields), 0});
  check_every_cut({"nine fields", get(fields + "A: 1\r\n"), 431});
}
