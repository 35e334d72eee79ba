// P1.28: the behaviours that Http11Probe asks for, where no other row of the battery has them. Its
// ids are cited, the bytes are ours. docs/testing.md says which of its tests are answered by which
// part of the battery, and where we differ on purpose.

#include "tests/integration/http_battery.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

using namespace std::string_literals;

// What of the first request's body might be taken for a request.
constexpr std::string_view kSmuggled = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

std::string post_to(std::string_view target, std::string_view fields, std::string_view body) {
  return "POST " + std::string(target) + " HTTP/1.1\r\nHost: x\r\n" + std::string(fields) + "\r\n" +
         std::string(body);
}

TEST_CASE("battery P1.28: Http11Probe, compliance") {
  Demo demo;
  const std::string long_target = "/hello?" + std::string(8000, 'a');
  check_rows(
      demo.address(),
      {
          {"P1.28 UPGRADE-POST",
           post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n"),
           {200},
           After::kOpen},
          {"P1.28 UPGRADE-MISSING-CONN",
           get("Upgrade: websocket\r\n"),
           {200},
           After::kOpen,
           kHello},
          {"P1.28 UPGRADE-UNKNOWN",
           get("Connection: Upgrade\r\nUpgrade: no-such/1\r\n"),
           {200},
           After::kOpen,
           kHello},
          {"P1.28 UPGRADE-HTTP10",
           "GET /hello HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
           {200},
           After::kClosed,
           kHello},
          {"P1.28 TRACE-WITH-BODY",
           "TRACE /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
           {501},
           After::kClosed},
          {"P1.28 RANGE-POST",
           post("Range: bytes=0-1\r\nContent-Length: 5\r\n", "hello"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.28 RANGE-INVALID", get("Range: bytes=abc-xyz\r\n"), {200}, After::kOpen, kHello},
          {"P1.28 RANGE-OVERLAPPING",
           get("Range: bytes=0-" + std::string(4000, ',') + "\r\n"),
           {200},
           After::kOpen,
           kHello},
          {"P1.28 ACCEPT-NONSENSE", get("Accept: no/such\r\n"), {200}, After::kOpen, kHello},
          {"P1.28 DUPLICATE-CT",
           post("Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 2\r\n", "hi"),
           {200},
           After::kOpen,
           "hi"},
          {"P1.28 LONG-URL-OK", get("", long_target), {200}, After::kOpen, kHello},
          {"P1.28 VERSION-MISSING-MINOR", "GET /hello HTTP/1\r\nHost: x\r\n\r\n", {400, 505}},
          {"P1.28 VERSION-WHITESPACE", "GET /hello HTTP/ 1.1\r\nHost: x\r\n\r\n", {400, 505}},
          {"P1.28 HTTP12-VERSION", "GET /hello HTTP/1.2\r\nHost: x\r\n\r\n", {505}},
          {"P1.28 SPACE-IN-TARGET", get("", "/he llo"), {400}},
          {"P1.28 FRAGMENT-IN-TARGET", get("", "/hello#part"), {400}},
          {"P1.28 HOST-WITH-PATH", "GET / HTTP/1.1\r\nHost: x/path\r\n\r\n", {400}},
          {"P1.28 MULTIPLE-HOST-COMMA", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", {400}},
          {"P1.28 MULTIPLE-HOST-COMMA without a space",
           "GET / HTTP/1.1\r\nHost: x,y\r\n\r\n",
           {400}},
      });
}

TEST_CASE("battery P1.28: Http11Probe, malformed input and normalization") {
  Demo demo;
  check_rows(
      demo.address(),
      {
          {"P1.28 NON-ASCII-URL", get("", "/caf\xc3\xa9"), {400}},
          {"P1.28 URL-OVERLONG-UTF8", get("", "/\xc0\xaf"), {400}},
          // Browsers send it as it is in a query; here it is a byte like any other.
          {"P1.28 URL-BACKSLASH", get("", "/a\\b"), {404}, After::kOpen},
          {"P1.28 WHITESPACE-ONLY-LINE", "   \r\n\r\n", {400}},
          {"P1.28 BINARY-GARBAGE", "\x80\xff\x01\x13\x37garbage\r\n\r\n", {400}},
          {"P1.28 TAB-IN-NAME", post("Content\tLength: 5\r\n", "hello"), {400}},
          // An underscore makes another name, which means nothing.
          {"P1.28 UNDERSCORE-CL", post("Content_Length: 5\r\n"), {200}, After::kOpen, ""},
          {"P1.28 UNDERSCORE-TE",
           post("Transfer_Encoding: chunked\r\nContent-Length: 2\r\n", "hi"),
           {200},
           After::kOpen,
           "hi"},
          {"P1.28 CASE-TE",
           post("TRANSFER-ENCODING: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"),
           {200},
           After::kOpen,
           "hi"},
          {"P1.28 COOK-NUL", get("Cookie: a=b\0c\r\n"s), {400}},
          {"P1.28 COOK-CONTROL-CHARS", get("Cookie: a=\x01\x02\x03\r\n"), {400}},
          {"P1.28 COOK-MALFORMED", get("Cookie: ===;;;\r\n"), {200}, After::kOpen, kHello},
          {"P1.28 COOK-OVERSIZED", get("Cookie: " + std::string(70'000, 'c') + "\r\n"), {431}},
      });
}

TEST_CASE("battery P1.28: Http11Probe, smuggling: nothing in or behind a body is a request") {
  Demo demo;
  const std::string smuggled(kSmuggled);
  const std::string length = "Content-Length: " + std::to_string(smuggled.size()) + "\r\n";
  std::vector<Row> rows = {
      {"P1.28 CHUNK-SPILL", chunked("5\r\nhello!!\r\n0\r\n\r\n"), {400}},
      {"P1.28 CHUNK-INVALID-SIZE-DESYNC", chunked("+0\r\n\r\nX"), {400}},
      {"P1.28 TRAILER-CONTENT-TYPE",
       chunked("5\r\nhello\r\n0\r\nContent-Type: a/b\r\n\r\n"),
       {200, 400},
       After::kClosed},
      {"P1.28 GET-CL-BODY-DESYNC", get(length) + smuggled, {200}, After::kOpen, kHello},
      {"P1.28 GET-CL-PREFIX-DESYNC",
       get("Content-Length: 15\r\n") + "GET /smuggled H",
       {200},
       After::kOpen,
       kHello},
      {"P1.28 OPTIONS-CL-BODY-DESYNC",
       "OPTIONS /hello HTTP/1.1\r\nHost: x\r\n" + length + "\r\n" + smuggled,
       {405},
       After::kOpen},
      {"P1.28 HEAD-CL-BODY",
       "HEAD /hello HTTP/1.1\r\nHost: x\r\n" + length + "\r\n" + smuggled,
       {200},
       After::kOpen},
      {"P1.28 EXPECT-100-CL-DESYNC",
       post_to("/noread", "Expect: 100-continue\r\n" + length, smuggled),
       {200},
       After::kClosed},
      {"P1.28 CL0-BODY-POISON",
       post("Content-Length: 0\r\n", "\x01"),
       {400},
       After::kClosed,
       "",
       1},
      {"P1.28 OPTIONS-TE-OBS-FOLD",
       "OPTIONS /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n" + length + "\r\n",
       {400}},
  };
  for (const std::string& fields : std::vector<std::string>{
           "Transfer-Encoding: chunked\r\n" + length,
           length + "Transfer-Encoding: chunked\r\n",
           "Content-Length: +30\r\nTransfer-Encoding: chunked\r\n",
           "Content-Length: 30x\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding:\r\n chunked\r\n" + length,
           "Transfer-Encoding: chunked \r\n" + length,
           "Transfer-Encoding: , chunked\r\n" + length,
           "Transfer-Encoding: chunked,\r\n" + length,
           "Transfer-Encoding: chunked;a=b\r\n",
           "Transfer-Encoding: xchunked\r\n",
           "Transfer-Encoding: chunked, identity\r\n",
           "Transfer-Encoding: Chunked\r\n" + length,
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + length,
           "Content-Length: 0\r\n" + length,
           "Content-Length: 30, 30\r\n",
           "Content-Length: 30, 30, 30\r\n",
           "Content-Length: 0o36\r\n",
           "Content-Length: 3_0\r\n",
       }) {
    rows.push_back({"P1.28 SMUGGLED-GET " + fields.substr(0, fields.find('\r')),
                    post_to("/echo", fields, "0\r\n\r\n" + smuggled),
                    {400, 501}});
  }
  check_rows(demo.address(), rows);
}

}  // namespace
}  // namespace vigil::test
