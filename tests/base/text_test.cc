#include "base/text.h"

#include "tests/support/catch.h"

namespace vigil {
namespace {

using namespace std::chrono_literals;

TEST_CASE("valid_utf8 keeps what is well-formed and replaces the rest byte by byte") {
  const std::string replacement = "\xEF\xBF\xBD";
  CHECK(valid_utf8("plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80") ==
        "plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
  CHECK(valid_utf8("\xff") == replacement);
  CHECK(valid_utf8("\xc3") == replacement);                                      // cut short
  CHECK(valid_utf8("\xc0\xaf") == replacement + replacement);                    // overlong
  CHECK(valid_utf8("\xed\xa0\x80") == replacement + replacement + replacement);  // surrogate
  CHECK(valid_utf8("\xf4\x90\x80\x80").size() == 4 * replacement.size());        // too large
}

TEST_CASE("html_escaped leaves nothing that a browser would take for markup") {
  CHECK(html_escaped("<a href=\"x\">&'</a>") == "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;");
}

TEST_CASE("format_utc rounds down to a second, before 1970 too") {
  CHECK(format_utc(WallTime(1'763'784'729s)) == "2025-11-22T04:12:09Z");
  CHECK(format_utc(WallTime(1'763'784'729s + 999'999'999ns)) == "2025-11-22T04:12:09Z");
  CHECK(format_utc(WallTime(1'763'784'729s + 1s)) == "2025-11-22T04:12:10Z");
  CHECK(format_utc(WallTime(0s)) == "1970-01-01T00:00:00Z");
  CHECK(format_utc(WallTime(-1ns)) == "1969-12-31T23:59:59Z");
  CHECK(format_utc(WallTime(951'782'400s)) == "2000-02-29T00:00:00Z");
}

TEST_CASE("parse_integer takes the limits and refuses one beyond") {
  CHECK(*parse_integer("1", 1, 300) == 1);
  CHECK(*parse_integer("300", 1, 300) == 300);
  for (const char* text :
       {"0", "301", "", "-1", "+1", " 1", "1 ", "0x1", "1e2", "99999999999999999999"}) {
    INFO(text);
    const Result<std::int64_t> result = parse_integer(text, 1, 300);
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().message() == "not a whole number from 1 to 300");
  }
}

TEST_CASE("parse_duration reads what people write") {
  CHECK(*parse_duration("250ms") == 250ms);
  CHECK(*parse_duration("2s") == 2s);
  CHECK(*parse_duration("1.5s") == 1500ms);
  CHECK(*parse_duration("2m") == 2min);
  CHECK(*parse_duration("1h") == 1h);
  CHECK(*parse_duration("10us") == 10us);
  CHECK(*parse_duration("7ns") == 7ns);
  CHECK(*parse_duration("1h30m") == 90min);
  CHECK(*parse_duration("3m12.5s") == 192500ms);
  CHECK(*parse_duration("0") == 0ns);
  CHECK(*parse_duration("0s") == 0ns);
  for (const char* text : {"", "5", "s", "-1s", "1 s", "1.s", ".5s", "1..5s", "1d", "1S", "1e3s",
                           "30m1h", "1s1s", "300000000h"}) {
    INFO(text);
    CHECK_FALSE(parse_duration(text).ok());
  }
}

TEST_CASE("format_duration is short and reads back") {
  CHECK(format_duration(0ns) == "0s");
  CHECK(format_duration(250ms) == "250ms");
  CHECK(format_duration(1500ms) == "1.5s");
  CHECK(format_duration(3min) == "3m");
  CHECK(format_duration(59990ms) == "59.99s");
  CHECK(format_duration(192s) == "3m12s");
  CHECK(format_duration(90min) == "1h30m");
  CHECK(format_duration(2h) == "2h");
  CHECK(*parse_duration(format_duration(192s)) == 192s);
  CHECK(*parse_duration(format_duration(1250us)) == 1250us);
}

TEST_CASE("parse_host_port wants a numeric address and a port") {
  CHECK(parse_host_port("127.0.0.1:8080")->host == "127.0.0.1");
  CHECK(parse_host_port("127.0.0.1:8080")->port == 8080);
  CHECK(parse_host_port("localhost:0")->host == "127.0.0.1");
  CHECK(parse_host_port("[::1]:6060")->host == "::1");
  CHECK(format_host_port(*parse_host_port("[::1]:6060")) == "[::1]:6060");
  for (const char* text : {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80",
                           "[::1]", "[]:1", "example.org:80", "127.0.0.1:8x", "[DDDD]:0",
                           "[1.2.3.4]:1", "1.2.3:1", "256.0.0.1:1", ".:1"}) {
    INFO(text);
    CHECK_FALSE(parse_host_port(text).ok());
  }
}

}  // namespace
}  // namespace vigil
