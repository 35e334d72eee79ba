// The picture of vigil top: tasks by route and age, as lines of text.
//
//   127.0.0.1:6060: 12 live, 340 started/s, 3 stuck (over 5s)
//
//   ROUTE         LIVE STUCK   OLDEST  <10ms <100ms    <1s   <10s  >=10s
//   GET /stuck       3     3      12s      .      .      .      .      3
//   GET /hello       9     .    1.2ms      9      .      .      .      .
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "endpoints/tasks_json.h"

namespace vigil::command {

struct TopView {
  std::string address;
  endpoints::TaskList tasks;
  endpoints::StuckNow stuck;
  std::optional<double> started_per_second;  // none at the first look
};

struct TableSize {
  std::size_t columns = 80;
  std::size_t rows = 24;
};

enum class TableStyle : std::uint8_t {
  kPlain,     // no escape sequences
  kTerminal,  // the head in bold, routes that are stuck in red
};

// The lines, without their ends: at most `size.rows`, none with more than `size.columns` characters. Routes with a stuck
// task come first, then those with the oldest. A route that is too long is cut, and the last line counts the routes that
// have no place. Control characters of routes are replaced: they come from the server. Pure.
std::vector<std::string> task_table(const TopView& view, TableSize size, TableStyle style);

}  // namespace vigil::command
