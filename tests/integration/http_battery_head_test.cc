// PUB-1: heads that must be refused, line by line. Nothing behind them is believed.

#include "tests/integration/http_battery.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

using namespace std::string_literals;

std::string request_line(const std::string& line) { return line + "\r\nHost: x\r\n\r\n"; }
std::string with_host(const std::string& host) {
  return "GET /hello HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
}

TEST_CASE("battery P1.2: white space between a field's name and its colon") {
  Demo demo;
  check_rows(
      demo.address(),
      {
          {"P1.2 space", get("Foo : bar\r\n"), {400}},
          {"P1.2 tab", get("Foo\t: bar\r\n"), {400}},
          {"P1.2 both", get("Foo \t : bar\r\n"), {400}},
          {"P1.2 no value", get("Foo :\r\n"), {400}},
          {"P1.2 Host", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", {400}},
          {"P1.2 Content-Length", post("Content-Length : 5\r\n", "hello"), {400}},
          {"P1.2 Content-Length, tab", post("Content-Length\t: 5\r\n", "hello"), {400}},
          {"P1.2 hidden length",
           post("Content-Length: 5\r\nContent-Length : 9\r\n", "hello"),
           {400}},
          {"P1.2 Transfer-Encoding", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), {400}},
          {"P1.2 Transfer-Encoding, vertical tab",
           post("Transfer-Encoding\v: chunked\r\n", "0\r\n\r\n"),
           {400}},
          {"P1.2 Transfer-Encoding, no-break space",
           post("Transfer-Encoding\xa0: chunked\r\n", "0\r\n\r\n"),
           {400}},
          {"P1.2 Connection", get("Connection : close\r\n"), {400}},
          {"P1.2 space inside a name", get("Fo o: bar\r\n"), {400}},
      });
}

TEST_CASE("battery P1.3: lines that begin with white space") {
  Demo demo;
  check_rows(
      demo.address(),
      {
          {"P1.3 fold", get("Foo: a\r\n b\r\n"), {400}},
          {"P1.3 fold, tab", get("Foo: a\r\n\tb\r\n"), {400}},
          {"P1.3 fold of nothing", get("Foo: a\r\n \r\n"), {400}},
          {"P1.3 fold of a tab", get("Foo: a\r\n\t\r\n"), {400}},
          {"P1.3 before the first field", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", {400}},
          {"P1.3 before the first field, tab", "GET / HTTP/1.1\r\n\tHost: x\r\n\r\n", {400}},
          {"P1.3 blank before the first field", "GET / HTTP/1.1\r\n \r\nHost: x\r\n\r\n", {400}},
          {"P1.3 folded Host", "GET / HTTP/1.1\r\nHost:\r\n x\r\n\r\n", {400}},
          {"P1.3 folded length", post("Content-Length:\r\n 5\r\n", "hello"), {400}},
          {"P1.3 length goes on", post("Content-Length: 5\r\n 0\r\n", "hello"), {400}},
          {"P1.3 folded coding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), {400}},
          {"P1.3 coding goes on",
           post("Transfer-Encoding: chunked\r\n , identity\r\n", "0\r\n\r\n"),
           {400}},
          {"P1.3 length in a fold", post("X: a\r\n Content-Length: 5\r\n", "hello"), {400}},
          {"P1.3 space before the method", request_line(" GET / HTTP/1.1"), {400}},
          {"P1.3 tab before the method", request_line("\tGET / HTTP/1.1"), {400}},
      });
}

TEST_CASE("battery P1.4: lines that are no field") {
  Demo demo;
  check_rows(demo.address(),
             {
                 {"P1.4 no colon", get("Foo\r\n"), {400}},
                 {"P1.4 no colon, with a value", get("Foo bar\r\n"), {400}},
                 {"P1.4 no name", get(": x\r\n"), {400}},
                 {"P1.4 nothing but a colon", get(":\r\n"), {400}},
                 {"P1.4 equals sign", get("Foo=bar\r\n"), {400}},
                 {"P1.4 a second request line", get("GET /smuggled HTTP/1.1\r\n"), {400}},
                 {"P1.4 a response's line", get("HTTP/1.1 200 OK\r\n"), {400}},
                 {"P1.4 quoted name", get("\"Foo\": bar\r\n"), {400}},
                 {"P1.4 name in brackets", get("[Foo]: bar\r\n"), {400}},
                 {"P1.4 NUL in Content-Length", post("Content\0-Length: 5\r\n"s, "hello"), {400}},
                 {"P1.4 UTF-8 in a name", get("F\xc3\xb6: x\r\n"), {400}},
                 {"P1.4 last line", get("A: b\r\nFoo\r\n"), {400}},
             });
  std::vector<Row> rows;
  for (const int byte : "\"(),/;<=>?@[\\]{}"s) {
    rows.push_back({"P1.4 delimiter "s + static_cast<char>(byte),
                    get("F"s + static_cast<char>(byte) + "o: x\r\n"),
                    {400}});
  }
  for (int byte = 0; byte < 256; ++byte) {
    if ((byte >= 0x20 && byte < 0x7f) || byte == '\t') continue;
    if (byte >= 0x82 && byte % 16 != 0 && byte != 0xff) continue;
    rows.push_back({"P1.4 byte " + std::to_string(byte) + " in a name",
                    get("F"s + static_cast<char>(byte) + "o: x\r\n"),
                    {400}});
  }
  check_rows_whole(demo.address(), rows);
}

TEST_CASE("battery P1.5: controls, and line ends that are not CRLF") {
  Demo demo;
  check_rows(
      demo.address(),
      {
          {"P1.5 LF everywhere", "GET / HTTP/1.1\nHost: x\n\n", {400}},
          {"P1.5 LF behind the request line", "GET / HTTP/1.1\nHost: x\r\n\r\n", {400}},
          {"P1.5 LF behind Host", "GET / HTTP/1.1\r\nHost: x\n\r\n", {400}},
          {"P1.5 LF at the end", "GET / HTTP/1.1\r\nHost: x\r\n\n", {400}},
          {"P1.5 CR everywhere", "GET / HTTP/1.1\rHost: x\r\r", {400}},
          {"P1.5 CR behind the request line", "GET / HTTP/1.1\rHost: x\r\n\r\n", {400}},
          {"P1.5 CR at the end", "GET / HTTP/1.1\r\nHost: x\r\n\rX", {400}},
          {"P1.5 CR CR LF", "GET / HTTP/1.1\r\r\nHost: x\r\n\r\n", {400}},
          {"P1.5 CR CR LF behind Host", "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", {400}},
          {"P1.5 CR CR LF at the end", "GET / HTTP/1.1\r\nHost: x\r\n\r\r\n", {400}},
          {"P1.5 LF CR", "GET / HTTP/1.1\n\rHost: x\n\r\n\r", {400}},
          {"P1.5 CR in a value", get("Foo: a\rb\r\n"), {400}},
          {"P1.5 LF in a value", get("Foo: a\nb\r\n"), {400}},
          {"P1.5 a field behind CR", get("Foo: a\rContent-Length: 5\r\n"), {400}},
          {"P1.5 a field behind LF", get("Foo: a\nContent-Length: 5\r\n"), {400}},
          {"P1.5 a coding behind LF", get("Foo: a\nTransfer-Encoding: chunked\r\n"), {400}},
          {"P1.5 length with CR", post("Content-Length: 5\r\r\n", "hello"), {400}},
          {"P1.5 NUL in a value", get("Foo: a\0b\r\n"s), {400}},
          {"P1.5 NUL ends a value", get("Foo: a\0\r\n"s), {400}},
          {"P1.5 DEL", get("Foo: \x7f\r\n"), {400}},
          {"P1.5 form feed", get("Foo:\fbar\r\n"), {400}},
          {"P1.5 vertical tab", get("Foo: bar\v\r\n"), {400}},
          {"P1.5 escape", get("Foo: \x1b[31m\r\n"), {400}},
          {"P1.5 LF before the request", "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", {400}},
          {"P1.5 CR before the request", "\rGET / HTTP/1.1\r\nHost: x\r\n\r\n", {400}},
          {"P1.5 two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", {400}},
          {"P1.5 NUL before the request", "\0GET / HTTP/1.1\r\nHost: x\r\n\r\n"s, {400}},
          {"P1.5 byte order mark", "\xef\xbb\xbfGET / HTTP/1.1\r\nHost: x\r\n\r\n", {400}},
      });
  std::vector<Row> rows;
  for (int byte = 0; byte < 0x80; ++byte) {
    if (byte == '\t' || (byte >= 0x20 && byte != 0x7f)) continue;
    rows.push_back({"P1.5 control " + std::to_string(byte) + " in a value",
                    get("Foo: a"s + static_cast<char>(byte) + "b\r\n"),
                    {400}});
  }
  check_rows_whole(demo.address(), rows);
}

TEST_CASE("battery P1.6: Host") {
  Demo demo;
  std::vector<Row> rows = {
      {"P1.6 missing", "GET / HTTP/1.1\r\n\r\n", {400}},
      {"P1.6 missing, others there", "GET / HTTP/1.1\r\nA: b\r\n\r\n", {400}},
      {"P1.6 missing in absolute form", "GET http://x/ HTTP/1.1\r\n\r\n", {400}},
      {"P1.6 empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", {400}},
      {"P1.6 two", get("Host: y\r\n"), {400}},
      {"P1.6 two equal", get("Host: x\r\n"), {400}},
      {"P1.6 two, one empty", get("Host:\r\n"), {400}},
      {"P1.6 two, other case", get("hOST: x\r\n"), {400}},
      {"P1.6 two, apart", get("A: b\r\nHost: y\r\n"), {400}},
      {"P1.6 two in HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", {400}},
      {"P1.6 invalid in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", {400}},
  };
  for (const char* host :
       {"a b",     "a/b",     "a@b",     "user:pw@a", "{",        "\xff", "a,b",     "a\tb",
        "a\\b",    "a?b",     "a#b",     "a%b",       "\"a\"",    "<a>",  "a;b",     "a|b",
        "a^b",     "a`b",     "a'b",     "(a)",       "http://a", "a:b",  "a:-1",    "a:+1",
        "a:80:80", "a:99999", "a:65536", "a: 80",     ":80",      "[::1", "::1",     "[::1]x",
        "[::1]:x", "[]",      "[g::1]",  "[::1]]",    "[[::1]]",  "]",    "\xc3\xa9"}) {
    rows.push_back({"P1.6 Host: "s + host, with_host(host), {400}});
  }
  check_rows_whole(demo.address(), rows);
}

TEST_CASE("battery P1.7: versions") {
  Demo demo;
  std::vector<Row> rows = {
      {"P1.7 HTTP/0.9 without a version", "GET /\r\n\r\n", {400}},
      {"P1.7 only a method", request_line("GET"), {400}},
      {"P1.7 only a method and a space", request_line("GET "), {400}},
      {"P1.7 no target", request_line("GET HTTP/1.1"), {400}},
      {"P1.7 empty target", request_line("GET  HTTP/1.1"), {400}},
      {"P1.7 space behind the version", request_line("GET / HTTP/1.1 "), {400}},
      {"P1.7 tab behind the version", request_line("GET / HTTP/1.1\t"), {400}},
      {"P1.7 a fourth word", request_line("GET / HTTP/1.1 x"), {400}},
      {"P1.7 a second version", request_line("GET / HTTP/1.1 HTTP/1.1"), {400}},
      {"P1.7 tabs", request_line("GET\t/\tHTTP/1.1"), {400}},
      {"P1.7 two spaces", request_line("GET  / HTTP/1.1"), {400}},
      {"P1.7 two spaces before the version", request_line("GET /  HTTP/1.1"), {400}},
      {"P1.7 a response", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {400}},
      {"P1.7 HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}},
      {"P1.7 TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, {400}},
      {"P1.7 SSH", "SSH-2.0-OpenSSH_9.2\r\n", {400}},
      {"P1.7 SMTP", "EHLO x\r\n", {400}},
      {"P1.7 PROXY protocol", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n", {400}},
  };
  for (const char* version :
       {"HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/1.2", "HTTP/9.9", "HTTP/0.0"}) {
    rows.push_back({"P1.7 "s + version, request_line("GET / "s + version), {400, 505}});
  }
  for (const char* version :
       {"HTTP/1.10",   "HTTP/01.1", "HTTP/1.01", "http/1.1",  "Http/1.1",   "HTTP/1",
        "HTTP/1.",     "HTTP/.1",   "HTTP/",     "HTTP",      "HTTP/1,1",   "HTTP/11",
        "HTTP/1.1x",   "HTTPS/1.1", "HTTP/-1.1", "HTTP/+1.1", "HTTP/1.1.1", "HTTP/A.B",
        "HTTP/1.\xb1", "HTTP\\1.1", "HTTP//1.1", "HTP/1.1",   "RTSP/1.0",   "SIP/2.0",
        "ICE/1.0",     "XHTTP/1.1", "HTTP/ 1.1", "HTTP /1.1"}) {
    rows.push_back({"P1.7 "s + version, request_line("GET / "s + version), {400}});
  }
  check_rows_whole(demo.address(), rows);
}

TEST_CASE("battery P1.8: methods") {
  Demo demo;
  std::vector<Row> rows = {
      {"P1.8 delimiter", request_line("GE(T /hello HTTP/1.1"), {400}},
      {"P1.8 none", request_line(" /hello HTTP/1.1"), {400}},
      {"P1.8 slash", request_line("G/T /hello HTTP/1.1"), {400}},
      {"P1.8 colon", request_line("GET: /hello HTTP/1.1"), {400}},
      {"P1.8 NUL", request_line("GE\0T /hello HTTP/1.1"s), {400}},
      {"P1.8 NUL behind it", request_line("GET\0 /hello HTTP/1.1"s), {400}},
      {"P1.8 above ASCII", request_line("G\xc3\x89T /hello HTTP/1.1"), {400}},
      {"P1.8 at sign", request_line("GET@ /hello HTTP/1.1"), {400}},
      {"P1.8 quoted", request_line("\"GET\" /hello HTTP/1.1"), {400}},
      {"P1.8 CONNECT", request_line("CONNECT x:1 HTTP/1.1"), {400, 405, 501}},
      {"P1.8 CONNECT to a path", request_line("CONNECT /hello HTTP/1.1"), {400, 405, 501}},
      {"P1.8 TRACE", request_line("TRACE /hello HTTP/1.1"), {405, 501}},
  };
  for (const char* method :
       {"FROB",     "get",   "Get",           "GETX",          "G",        "GET1",  "GET!",
        "HTTP",     "PRI",   "ANNOUNCE",      "DESCRIBE",      "PAUSE",    "PLAY",  "RECORD",
        "REDIRECT", "SETUP", "SET_PARAMETER", "GET_PARAMETER", "TEARDOWN", "FLUSH", "Q"}) {
    rows.push_back({"P1.8 "s + method, request_line(method + " /hello HTTP/1.1"s), {405, 501}});
  }
  check_rows_whole(demo.address(), rows);
}

TEST_CASE("battery P1.22: targets") {
  Demo demo;
  std::vector<Row> rows;
  for (const std::string& target : {"/%00"s,
                                    "/%"s,
                                    "/%4"s,
                                    "/%4g"s,
                                    "/%g4"s,
                                    "/%%41"s,
                                    "/hello%0"s,
                                    "/%zz"s,
                                    "/%-1"s,
                                    "/%u0041"s,
                                    "hello"s,
                                    "?x"s,
                                    "*"s,
                                    "x:80"s,
                                    "ftp://x/"s,
                                    "http://"s,
                                    "http:///hello"s,
                                    "http:/hello"s,
                                    "http://a@x/hello"s,
                                    "http://a b/hello"s,
                                    "http://[::1/hello"s,
                                    "http://x:y/hello"s,
                                    "/hello#x"s,
                                    "#"s,
                                    "/a b"s,
                                    "/\xc3\xa9"s,
                                    "/\x7f"s,
                                    "/\x01"s,
                                    "/\0"s,
                                    "/\xff"s,
                                    "/hello\t"s,
                                    "file:///etc/passwd"s,
                                    "javascript:x"s,
                                    "http//x/hello"s,
                                    "://x/hello"s,
                                    "\\hello"s,
                                    "http:\\\\x\\hello"s}) {
    rows.push_back({"P1.22 target " + target, request_line("GET " + target + " HTTP/1.1"), {400}});
  }
  check_rows_whole(demo.address(), rows);
}

}  // namespace
}  // namespace vigil::test
