// The allow-list of vigil-leakcheck: what is accepted is in its limits and survives being written.

#include <string>

#include "leakwatch/leakcheck/allow_list.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vigil::leakwatch;
  using vigil::fuzz::fuzz_require;
  using namespace std::chrono_literals;
  constexpr std::chrono::year_month_day kToday = 2026y / 1 / 1;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto entries = parse_allow_list(text, kToday);
  if (!entries) {
    const std::string& message = entries.error().message();
    fuzz_require(message.find(": ") != std::string::npos && message[0] >= '1' && message[0] <= '9',
                 "a refusal begins with a line number");
    return 0;
  }
  for (const AllowEntry& entry : *entries) {
    fuzz_require(entry.last_day.ok() && entry.last_day >= kToday, "an entry holds today");
    fuzz_require(!entry.pattern.empty() && !entry.reason.empty(), "nothing is empty");
    const std::string line = format_allow_entry(entry);
    // Written, a pattern is quoted, and the line longer.
    if (line.size() > kAllowLineBytesMax) continue;
    const auto again = parse_allow_list(line, kToday);
    fuzz_require(again.ok() && again->size() == 1, "an entry that is written can be read");
    const AllowEntry& same = again->front();
    fuzz_require(same.kind == entry.kind && same.field == entry.field &&
                     same.pattern == entry.pattern && same.last_day == entry.last_day &&
                     same.reason == entry.reason,
                 "and is the same");
  }
  return 0;
}
