// The allow-list: what a line may be, and that everything else is refused with its line.

#include "leakwatch/leakcheck/allow_list.h"

#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::year_month_day kToday = 2026y / 11 / 22;

std::string refusal(const std::string& text) {
  const auto entries = parse_allow_list(text, kToday);
  return entries ? "accepted" : entries.error().message();
}

TEST_CASE("a line has a kind, a field with a pattern, a day and a reason") {
  const auto entries = parse_allow_list(
      "# a comment\n"
      "\n"
      "thread name=grpc-* until 2027-03-31: grpc keeps its threads (TICKET-12)\r\n"
      "  process function=\"a b\\\"c\\\\d\"\tuntil 2026-11-22:   today is still good  \n"
      "any created=x until 9999-12-31: no line end",
      kToday);
  REQUIRE(entries);
  REQUIRE(entries->size() == 3);
  const AllowEntry& first = entries->at(0);
  CHECK(first.kind == "thread");
  CHECK(first.field == AllowField::kName);
  CHECK(first.pattern == "grpc-*");
  CHECK(first.last_day == 2027y / 3 / 31);
  CHECK(first.reason == "grpc keeps its threads (TICKET-12)");
  CHECK(first.line == 3);
  CHECK(entries->at(1).kind == "child process");
  CHECK(entries->at(1).pattern == "a b\"c\\d");
  CHECK(entries->at(1).reason == "today is still good");
  CHECK(entries->at(2).field == AllowField::kCreated);
  CHECK(entries->at(2).line == 5);
  for (const AllowEntry& entry : *entries) {
    const auto again = parse_allow_list(format_allow_entry(entry), kToday);
    REQUIRE(again);
    CHECK(format_allow_entry(again->at(0)) == format_allow_entry(entry));
    CHECK(again->at(0).pattern == entry.pattern);
  }
}

TEST_CASE("an entry holds until the end of its day, and is refused with its line from the next") {
  const std::string line = "heap name=x until 2026-11-22: r\n";
  CHECK(parse_allow_list(line, 2026y / 11 / 22));
  const auto late = parse_allow_list("\n" + line, 2026y / 11 / 23);
  REQUIRE_FALSE(late);
  CHECK(late.error().message() == "2: expired on 2026-11-22: r");
}

TEST_CASE("every other line is refused, with its number and what is wrong") {
  const std::string good = "thread name=a until 2027-01-01: r";
  for (std::size_t i = 1; i < good.size(); ++i) {
    INFO(good.substr(0, i));
    CHECK(refusal("\n" + good.substr(0, i)).starts_with("2: "));
  }
  CHECK(refusal("threads name=a until 2027-01-01: r").starts_with("1: not a kind: \"threads\""));
  CHECK(refusal("thread nam=a until 2027-01-01: r") ==
        "1: after the kind comes name=, function= or created=");
  CHECK(refusal("thread name= until 2027-01-01: r") == "1: the pattern is empty");
  CHECK(refusal("thread name=\"\" until 2027-01-01: r") == "1: the pattern is empty");
  CHECK(refusal("thread name=\"a until 2027-01-01: r") == "1: a quote is not closed");
  CHECK(refusal("thread name=a\"b until 2027-01-01: r") == "1: a quote inside a pattern");
  CHECK(refusal("thread name=\"a\"b until 2027-01-01: r") == "1: a space is missing after a quote");
  CHECK(refusal("thread name=\"a\\n\" until 2027-01-01: r").starts_with("1: a backslash"));
  CHECK(refusal("thread name=a 2027-01-01: r") ==
        "1: after the pattern comes \"until YYYY-MM-DD:\"");
  CHECK(refusal("thread name=a until 2027-01-01 r") ==
        "1: after the day comes a colon and the reason");
  CHECK(refusal("thread name=a until 2027-02-29: r") == "1: not a day YYYY-MM-DD: 2027-02-29");
  CHECK(refusal("thread name=a until 2027-1-1: r") == "1: not a day YYYY-MM-DD: 2027-1-1");
  CHECK(refusal("thread name=a until 2027-01-01:  ") == "1: the reason is missing");
  CHECK(refusal(std::string("thread name=a\0 until 2027-01-01: r", 34)) == "1: a NUL byte");
}

TEST_CASE("a line and a file have a length, and one more is too much") {
  const std::string start = "thread name=a until 2027-01-01: ";
  const auto line_of = [&](std::size_t size) {
    return start + std::string(size - start.size(), 'r');
  };
  CHECK(refusal(line_of(kAllowLineBytesMax)) == "accepted");
  CHECK(refusal(line_of(kAllowLineBytesMax + 1)) == "1: longer than 4096 bytes");
  CHECK(refusal(std::string(kAllowLinesMax, '\n')) == "accepted");
  std::string longer(kAllowLinesMax, '\n');
  longer += '#';
  CHECK(refusal(longer) == "10001: more than 10000 lines");
}

}  // namespace
}  // namespace vigil::leakwatch
