#include "server-core/headers.h"

#include <array>
#include <string>

#include "server-core/byte_search.h"
#include "server-core/date.h"
#include "tests/support/catch.h"

using namespace std::string_view_literals;
using namespace vigil::http;

TEST_CASE("names compare without regard to case, and order and spelling are kept") {
  HeaderMap map;
  map.set("Content-Type", "a");
  map.add("X-One", "1");
  map.add("x-one", "2");
  CHECK(map.get("content-TYPE") == "a"sv);
  CHECK(map.size() == 3);
  CHECK(map.at(2).name == "x-one");
  map.set("X-ONE", "3");
  CHECK(map.size() == 2);
  CHECK(map.get("x-one") == "3"sv);
  map.remove("content-type");
  CHECK_FALSE(map.contains("Content-Type"));
}

TEST_CASE("P1.23: a name or value that would become protocol is refused") {
  const std::array<std::string_view, 6> values = {"a\rb",  "a\nb", "a\0b"sv, "\r\n\r\n<script>",
                                                  "a\x7f", "\x01"};
  for (std::string_view value : values) {
    HeaderMap map;
    map.set("X", "kept");
    map.set("X", value);
    map.add("X", value);
    CHECK(map.refused() == 2);
    CHECK(map.size() == 1);
    CHECK(map.get("X") == "kept"sv);
  }
  const std::array<std::string_view, 5> names = {"", "a b", "a:", "a\r\nb", "\xc3\xa9"};
  for (std::string_view name : names) {
    HeaderMap map;
    map.add(name, "v");
    CHECK(map.refused() == 1);
    CHECK(map.empty());
  }
  HeaderMap map;
  map.add("X", "tab\tand \xc3\xa9 are fine");
  CHECK(map.refused() == 0);
  CHECK(map.size() == 1);
}

TEST_CASE("a token is found at any position of a list, whole only") {
  CHECK(list_has_token("close", "close"));
  CHECK(list_has_token("keep-alive ,\t CLOSE", "close"));
  CHECK_FALSE(list_has_token("closed, not-close", "close"));
  CHECK_FALSE(list_has_token("", "close"));
}

TEST_CASE("the Date header's form") {
  using namespace std::chrono;
  const auto text = [](vigil::WallTime time) {
    const auto date = format_http_date(time);
    return std::string(date.data(), date.size());
  };
  CHECK(text(sys_days(year(1994) / 11 / 6) + 8h + 49min + 37s) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(text(sys_days(year(2024) / 2 / 29) + 24h - 1ns) == "Thu, 29 Feb 2024 23:59:59 GMT");
}

TEST_CASE("a control byte is found at every place of every length, and no other byte is one") {
  bool right = true;
  for (std::size_t size = 0; size < 20; ++size) {
    for (std::size_t place = 0; place < size; ++place) {
      for (int value = 0; value < 256; ++value) {
        // What surrounds it would borrow, or be taken for a control, if the sums went over bytes.
        for (const char around : {' ', '~', '\x80', '\xFF'}) {
          std::string text(size, around);
          text[place] = static_cast<char>(value);
          const bool is_control = value < 0x20 || value == 0x7F;
          for (std::size_t from = 0; from <= size; ++from) {
            const std::size_t expected = is_control && from <= place ? place : size;
            right &= find_control(text, from) == expected;
          }
        }
      }
    }
  }
  CHECK(right);
  // Behind a control every byte is looked at anew.
  CHECK(find_control("ab\r\ncdef\x7Fghi", 4) == 8);
  CHECK(find_control("\x1F\x20\x7F\x1F\x20\x20\x20\x20", 1) == 2);
}

TEST_CASE("case is ignored for letters alone, at every place of every length") {
  bool right = true;
  for (const std::size_t size : {1, 3, 7, 8, 9, 15, 16, 17, 23}) {
    for (std::size_t place = 0; place < size; ++place) {
      for (int x = 0; x < 256; ++x) {
        for (int y = 0; y < 256; ++y) {
          std::string a(size, 'm');
          std::string b(size, 'M');
          a[place] = static_cast<char>(x);
          b[place] = static_cast<char>(y);
          const auto lower = [](int c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
          right &= equals_ignoring_case(a, b) == (lower(x) == lower(y));
        }
      }
    }
  }
  CHECK(right);
}

TEST_CASE("a field's value may have any byte but controls, at every place of every length") {
  bool right = true;
  for (std::size_t size = 1; size < 20; ++size) {
    for (std::size_t place = 0; place < size; ++place) {
      for (int value = 0; value < 256; ++value) {
        std::string text(size, '\t');
        text[place] = static_cast<char>(value);
        right &= is_header_value(text) == (value == '\t' || (value >= 0x20 && value != 0x7F));
      }
    }
  }
  CHECK(right);
}
