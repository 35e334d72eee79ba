// The JSON of /debug/tasks and /debug/leakwatch, read back: for programs that show a server's tasks
// from outside (vigil top).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace vigil::endpoints {

struct TaskRow {
  std::string label;
  Duration age{};
};

struct TaskList {
  std::vector<TaskRow> tasks;
  std::uint64_t started = 0;    // since the server's start
  std::uint64_t untracked = 0;  // of these, not in the list: its table was full
};

struct StuckNow {
  Duration threshold{};  // zero: the watchdog is off
  std::uint64_t tasks = 0;
  std::map<std::string, std::uint64_t> by_label;
};

// Both pure. invalid_argument, with a sentence, for what is no such document; unknown members are
// skipped.
Result<TaskList> parse_tasks_json(std::string_view text);
Result<StuckNow> parse_leakwatch_json(std::string_view text);

}  // namespace vigil::endpoints
