#include "leakwatch/leakcheck/posix_timers.h"

#include <charconv>

#include "sampler/proc_file.h"

namespace vigil::leakwatch {
namespace {

constexpr std::size_t kTimersBytesMax = 4 * 1024 * 1024;  // of some 40,000 timers

template <typename Number>
bool leading_number(std::string_view text, Number& number) {
  return std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc();
}

// What follows `name` if the line begins with it.
bool field(std::string_view line, std::string_view name, std::string_view& value) {
  if (!line.starts_with(name)) return false;
  value = line.substr(name.size());
  return true;
}

}  // namespace

std::vector<PosixTimer> parse_posix_timers(std::string_view text) {
  std::vector<PosixTimer> timers;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::string_view value;
    if (field(line, "ID: ", value)) {
      PosixTimer timer;
      if (leading_number(value, timer.id)) timers.push_back(timer);
    } else if (timers.empty()) {
      continue;
    } else if (field(line, "signal: ", value)) {
      (void)leading_number(value, timers.back().signal);
    } else if (field(line, "notify: ", value)) {
      timers.back().notify = value;
    } else if (field(line, "ClockID: ", value)) {
      (void)leading_number(value, timers.back().clock);
    }
  }
  return timers;
}

Result<std::vector<PosixTimer>> read_posix_timers() {
  auto text = sampler::read_proc_file("/proc/self/timers", kTimersBytesMax);
  if (!text) return std::move(text).error();
  return parse_posix_timers(*text);
}

}  // namespace vigil::leakwatch
