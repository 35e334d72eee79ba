// PUB-1: where does the body end? Every doubt ends the connection.

#include "tests/integration/http_battery.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

using namespace std::string_literals;

TEST_CASE("battery P1.9: Content-Length and Transfer-Encoding") {
  Demo demo;
  const std::string length = "Content-Length: 5\r\n", coding = "Transfer-Encoding: chunked\r\n";
  check_rows(
      demo.address(),
      {
          {"P1.9", post(length + coding, "0\r\n\r\n"), {400}},
          {"P1.9 other order", post(coding + length, "0\r\n\r\n"), {400}},
          {"P1.9 apart", post(length + "A: b\r\n" + coding, "0\r\n\r\n"), {400}},
          {"P1.9 zero", post("Content-Length: 0\r\n" + coding, "0\r\n\r\n"), {400}},
          {"P1.9 zero, other order", post(coding + "Content-Length: 0\r\n", "0\r\n\r\n"), {400}},
          {"P1.9 empty length", post("Content-Length:\r\n" + coding, "0\r\n\r\n"), {400}},
          {"P1.9 bad length", post("Content-Length: x\r\n" + coding, "0\r\n\r\n"), {400}},
          {"P1.9 identity", post(length + "Transfer-Encoding: identity\r\n", "hello"), {400}},
          {"P1.9 unknown coding", post(length + "Transfer-Encoding: x\r\n", "hello"), {400}},
          {"P1.9 empty coding", post(length + "Transfer-Encoding:\r\n", "hello"), {400}},
          {"P1.9 any case",
           post("CONTENT-LENGTH: 5\r\ntransfer-encoding: CHUNKED\r\n", "0\r\n\r\n"),
           {400}},
          {"P1.9 GET", get(length + coding) + "0\r\n\r\n", {400}},
          {"P1.9 HTTP/1.0", "POST /echo HTTP/1.0\r\n" + length + coding + "\r\n0\r\n\r\n", {400}},
      });
}

TEST_CASE("battery P1.10: transfer codings") {
  Demo demo;
  std::vector<Row> rows;
  for (const std::string& coding : {"identity"s,
                                    "gzip"s,
                                    "deflate"s,
                                    "compress"s,
                                    "x"s,
                                    "gzip, chunked"s,
                                    "chunked, gzip"s,
                                    "chunked, chunked"s,
                                    "chunked,chunked"s,
                                    "chunked, identity"s,
                                    "identity, chunked"s,
                                    "chunked,"s,
                                    ",chunked"s,
                                    ", chunked"s,
                                    "chunked;q=1"s,
                                    "chunked;a"s,
                                    "chunked ;"s,
                                    ""s,
                                    "\"chunked\""s,
                                    "'chunked'"s,
                                    "chunke"s,
                                    "chunkedd"s,
                                    "xchunked"s,
                                    "chunked x"s,
                                    "chunked\0"s,
                                    "\0chunked"s,
                                    "chu\0nked"s,
                                    "chunked\v"s,
                                    "\vchunked"s,
                                    "\fchunked"s,
                                    "chunked\x7f"s,
                                    "\x0b"
                                    "chunked"s,
                                    "chun ked"s,
                                    "chunked\xa0"s,
                                    "\xef\xbb\xbf"
                                    "chunked"s,
                                    "[chunked]"s,
                                    "cow"s,
                                    "chunked/1"s,
                                    "chunked="s,
                                    "*"s,
                                    "%63hunked"s,
                                    "trailers"s}) {
    rows.push_back({"P1.10 coding " + coding,
                    post("Transfer-Encoding: " + coding + "\r\n", "0\r\n\r\n"),
                    {400, 501}});
  }
  rows.push_back({"P1.10 two lines",
                  post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                  {400}});
  rows.push_back(
      {"P1.10 two lines, identity",
       post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
       {400, 501}});
  rows.push_back({"P1.10 two lines, first unknown",
                  post("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                  {400, 501}});
  rows.push_back({"P1.10 two lines, one empty",
                  post("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                  {400, 501}});
  rows.push_back({"P1.10 HTTP/1.0",
                  "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                  {400}});
  rows.push_back({"P1.10 HTTP/1.0, kept alive",
                  "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: "
                  "chunked\r\n\r\n0\r\n\r\n",
                  {400}});
  rows.push_back({"P1.10 GET", get("Transfer-Encoding: gzip\r\n"), {400, 501}});
  check_rows_whole(demo.address(), rows);
}

TEST_CASE("battery P1.11: lengths") {
  Demo demo;
  std::vector<Row> rows;
  for (const std::string& length : {"+5"s,
                                    "-1"s,
                                    "-0"s,
                                    "0x5"s,
                                    "5x"s,
                                    "x5"s,
                                    "5 5"s,
                                    "5, 5"s,
                                    "5,5"s,
                                    "5, 6"s,
                                    "5,"s,
                                    ",5"s,
                                    ""s,
                                    "5."s,
                                    "5.0"s,
                                    "5e0"s,
                                    "1_0"s,
                                    "\"5\""s,
                                    "'5'"s,
                                    "five"s,
                                    "0b101"s,
                                    "0o5"s,
                                    "5;a=b"s,
                                    "5\0"s,
                                    "\0"
                                    "5"s,
                                    "\v5"s,
                                    "5\v"s,
                                    "\xd9\xa5"s,
                                    "\xef\xbc\x95"s,
                                    "9223372036854775808"s,
                                    "18446744073709551615"s,
                                    "18446744073709551616"s,
                                    "18446744073709551621"s,
                                    "4294967301x"s,
                                    "99999999999999999999999999999999999999"s,
                                    "NaN"s,
                                    "inf"s,
                                    "5\xa0"s,
                                    "(5)"s,
                                    "$5"s}) {
    rows.push_back(
        {"P1.11 length " + length, post("Content-Length: " + length + "\r\n", "hello"), {400}});
  }
  for (const std::string& second : {"6"s, "5"s, "05"s, "0"s, ""s, "x"s, "-5"s}) {
    rows.push_back({"P1.11 second length " + second,
                    post("Content-Length: 5\r\nContent-Length: " + second + "\r\n", "hello"),
                    {400}});
  }
  rows.push_back({"P1.11 second length, other case",
                  post("Content-Length: 5\r\ncontent-length: 6\r\n", "hello"),
                  {400}});
  // RFC 9110 §5.5 would let it pass as white space; llhttp does not, and no client sends it.
  rows.push_back({"P1.11 tab behind it", post("Content-Length: 5\t\r\n", "hello"), {400}});
  rows.push_back({"P1.11 over the limit", post("Content-Length: 16777217\r\n"), {413}});
  rows.push_back(
      {"P1.11 far over the limit", post("Content-Length: 9223372036854775807\r\n"), {413}});
  rows.push_back({"P1.11 over the limit on a route that does not read",
                  "POST /noread HTTP/1.1\r\nHost: x\r\nContent-Length: 16777217\r\n\r\n",
                  {413}});
  rows.push_back({"P1.11 over the limit, HTTP/1.0",
                  "POST /echo HTTP/1.0\r\nContent-Length: 16777217\r\n\r\n",
                  {413}});
  check_rows_whole(demo.address(), rows);
}

TEST_CASE("battery P1.12: chunks that are none") {
  Demo demo;
  std::vector<Row> rows;
  for (const std::string& size : {""s,
                                  " "s,
                                  "x"s,
                                  "g"s,
                                  "-1"s,
                                  "+5"s,
                                  "0x5"s,
                                  "5 "s,
                                  " 5"s,
                                  "5\t"s,
                                  "\t5"s,
                                  "1_0"s,
                                  "5h"s,
                                  "5,"s,
                                  "\"5\""s,
                                  "5.0"s,
                                  "5\0"s,
                                  "\0"
                                  "5"s,
                                  "5\v"s,
                                  "\xef\xbc\x95"s,
                                  "00000000000000005"s,
                                  "10000000000000000"s,
                                  "ffffffffffffffff"s,
                                  "8000000000000000"s,
                                  "fffffffffffffffff"s,
                                  "100000000000000005"s,
                                  "0000000000000000000000000000000000005"s,
                                  "5 ;a"s,
                                  " 5;a"s,
                                  "5;a\0"s,
                                  "5;a\x7f"s,
                                  "5;\x01"s,
                                  "5;a\rb"s,
                                  "5\r"s,
                                  "5;a\r"s,
                                  "-0"s,
                                  "+0"s,
                                  "0x0"s,
                                  "0 "s,
                                  "00x"s}) {
    rows.push_back({"P1.12 size " + size, chunked(size + "\r\nhello\r\n0\r\n\r\n"), {400, 413}});
  }
  for (const auto& [name, body] : std::vector<std::pair<std::string, std::string>>{
           {"LF behind the size", "5\nhello\r\n0\r\n\r\n"},
           {"CR behind the size", "5\rhello\r\n0\r\n\r\n"},
           {"CR CR LF behind the size", "5\r\r\nhello\r\n0\r\n\r\n"},
           {"LF behind the extension", "5;a\nhello\r\n0\r\n\r\n"},
           {"LF in an extension hides a size", "5;\n8\r\nhello\r\n0\r\n\r\n"},
           {"extension without a name", "5;\r\nhello\r\n0\r\n\r\n"},
           {"extension that is no token", "5;bad[=x\r\nhello\r\n0\r\n\r\n"},
           {"extension with an open quote", "5;a=\"b\r\nhello\r\n0\r\n\r\n"},
           {"LF behind the data", "5\r\nhello\n0\r\n\r\n"},
           {"CR behind the data", "5\r\nhello\r0\r\n\r\n"},
           {"nothing behind the data", "5\r\nhello0\r\n\r\n"},
           {"two bytes behind the data", "5\r\nhelloXX0\r\n\r\n"},
           {"data too long", "5\r\nhello!\r\n0\r\n\r\n"},
           {"data too short", "6\r\nhello\r\n0\r\n\r\n"},
           {"CR CR LF behind the data", "5\r\nhello\r\r\n0\r\n\r\n"},
           {"empty line before the size", "\r\n5\r\nhello\r\n0\r\n\r\n"},
           {"empty line between chunks", "5\r\nhello\r\n\r\n0\r\n\r\n"},
           {"LF behind the last size", "5\r\nhello\r\n0\n\r\n"},
           {"LF at the end", "5\r\nhello\r\n0\r\n\n"},
           {"CR at the end", "5\r\nhello\r\n0\r\n\rX"},
           {"second size malformed", "5\r\nhello\r\nx\r\n\r\n"},
           {"second size negative", "5\r\nhello\r\n-1\r\n\r\n"},
           {"no chunks at all", "hello"},
           {"a request instead", "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"},
           {"over the body's limit", "1000001\r\n"},
           {"largest size", "7fffffffffffffff\r\n"},
       }) {
    rows.push_back({"P1.12 " + name, chunked(body), {400, 413}});
  }
  check_rows(demo.address(), rows);
  // The same where no handler reads the body: 200 is right, a second answer is not.
  for (Row& row : rows) {
    row.bytes.replace(0, 10, "POST /noread");
    row.statuses = {200, 400, 413};
  }
  check_rows_whole(demo.address(), rows);
}

TEST_CASE("battery P1.13: chunk extensions have a budget") {
  Demo demo;
  const std::string one_byte_each = "1;" + std::string(100, 'x') + "\r\na\r\n";
  std::string many, few;
  for (int i = 0; i < 1000; ++i) many += one_byte_each;
  for (int i = 0; i < 100; ++i) few += one_byte_each;
  check_rows_whole(
      demo.address(),
      {
          {"P1.13 200 kB",
           chunked("5;" + std::string(200'000, 'x') + "\r\nhello\r\n0\r\n\r\n"),
           {400}},
          {"P1.13 one above the limit",
           chunked("5;" + std::string(4097, 'x') + "\r\nhello\r\n0\r\n\r\n"),
           {400}},
          {"P1.13 never ends", chunked("5;" + std::string(10'000, 'x')), {400}},
          {"P1.13 of the last chunk", chunked("0;" + std::string(4097, 'x') + "\r\n\r\n"), {400}},
          {"P1.13 one-byte chunks", chunked(many + "0\r\n\r\n"), {400}},
          {"P1.13 at the limit",
           chunked("5;" + std::string(4096, 'x') + "\r\nhello\r\n0\r\n\r\n"),
           {200},
           After::kOpen,
           "hello"},
          {"P1.13 in budget",
           chunked(few + "0\r\n\r\n"),
           {200},
           After::kOpen,
           std::string(100, 'a')},
      });
}

TEST_CASE("battery P1.14: trailers") {
  Demo demo;
  const auto trailer = [](const std::string& lines) {
    return chunked("5\r\nhello\r\n0\r\n" + lines);
  };
  check_rows(demo.address(),
             {
                 {"P1.14 one", trailer("A: b\r\n\r\n"), {200}, After::kOpen, "hello"},
                 {"P1.14 two", trailer("A: b\r\nC:d\r\n\r\n"), {200}, After::kOpen, "hello"},
                 {"P1.14 empty value", trailer("A:\r\n\r\n"), {200}, After::kOpen, "hello"},
                 {"P1.14 no colon", trailer("A\r\n\r\n"), {400}},
                 {"P1.14 no name", trailer(": b\r\n\r\n"), {400}},
                 {"P1.14 space before the colon", trailer("A : b\r\n\r\n"), {400}},
                 {"P1.14 folded", trailer("A: b\r\n c\r\n\r\n"), {400}},
                 {"P1.14 begins with a space", trailer(" A: b\r\n\r\n"), {400}},
                 {"P1.14 LF", trailer("A: b\n\r\n"), {400}},
                 {"P1.14 CR", trailer("A: b\rC: d\r\n\r\n"), {400}},
                 {"P1.14 NUL", trailer("A: \0\r\n\r\n"s), {400}},
                 {"P1.14 control", trailer("A: \x01\r\n\r\n"), {400}},
                 {"P1.14 DEL", trailer("A: \x7f\r\n\r\n"), {400}},
                 {"P1.14 Content-Length", trailer("Content-Length: 5\r\n\r\n"), {200, 400}},
                 {"P1.14 Transfer-Encoding", trailer("Transfer-Encoding: chunked\r\n\r\n"), {400}},
                 {"P1.14 Host", trailer("Host: y\r\n\r\n"), {400}},
                 {"P1.14 Connection", trailer("Connection: close\r\n\r\n"), {400}},
                 {"P1.14 a request", trailer("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"), {400}},
                 {"P1.14 delimiter in the name", trailer("A(: b\r\n\r\n"), {400}},
             });
  std::string many;
  for (int i = 0; i < 300; ++i) many += "A: b\r\n";
  check_rows_whole(demo.address(),
                   {
                       {"P1.14 over the limit",
                        trailer("A: " + std::string(70'000, 'x') + "\r\n\r\n"),
                        {400, 431}},
                       {"P1.14 too many", trailer(many + "\r\n"), {400, 431}},
                       {"P1.14 never ends", trailer(std::string(70'000, 'x')), {400, 431}},
                   });
}

TEST_CASE("battery P1.15: heads and targets over their limits, read by a client that still sends") {
  Demo demo;
  const auto pad = [](std::size_t size) { return "A: " + std::string(size, 'x') + "\r\n"; };
  const auto fields = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "A: b\r\n";
    return text;
  };
  const std::string frame = get(pad(0));
  check_rows_whole(
      demo.address(),
      {
          {"P1.15 at the limit", get(pad(65536 - frame.size())), {200}, After::kOpen},
          {"P1.15 one above", get(pad(65537 - frame.size())), {431}},
          {"P1.15 twice the limit", get(pad(131072)), {431}},
          {"P1.15 4 MiB", get(pad(4 << 20)), {431}},
          {"P1.15 many lines", get(fields(20'000)), {431}},
          {"P1.15 256 fields", get(fields(255)), {200}, After::kOpen},
          {"P1.15 257 fields", get(fields(256)), {431}},
          {"P1.15 line that never ends",
           "GET /hello HTTP/1.1\r\nA: " + std::string(70'000, 'x'),
           {431}},
          {"P1.15 name that never ends",
           "GET /hello HTTP/1.1\r\n" + std::string(70'000, 'x'),
           {431}},
          {"P1.15 target", get("", "/" + std::string(70'000, 'a')), {414, 431}},
          {"P1.15 query", get("", "/hello?" + std::string(70'000, 'a')), {414, 431}},
          {"P1.15 target that never ends", "GET /" + std::string(1 << 20, 'a'), {414, 431}},
          {"P1.15 method that never ends", std::string(70'000, 'G'), {400, 414, 431, 501}},
          {"P1.15 long target in the limit",
           get("", "/hello?" + std::string(60'000, 'a')),
           {200},
           After::kOpen},
      });
}

}  // namespace
}  // namespace vigil::test
