#include "agent/command/task_table.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <string_view>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::command {
namespace {

using namespace std::chrono_literals;

struct AgeColumn {
  std::string_view head;
  Duration below;
};
constexpr std::array kAges = {AgeColumn{"<10ms", 10ms}, AgeColumn{"<100ms", 100ms},
                              AgeColumn{"<1s", 1s}, AgeColumn{"<10s", 10s},
                              AgeColumn{">=10s", Duration::max()}};

// Right of the route: LIVE, STUCK, OLDEST, the ages. On 80 columns the route has 24.
constexpr std::size_t kNumbersWidth = 6 + 6 + 9 + kAges.size() * 7;
constexpr std::size_t kRouteWidthMin = 12;

struct Row {
  std::string route;
  std::uint64_t live = 0;
  std::uint64_t stuck = 0;
  std::array<std::uint64_t, kAges.size()> by_age{};
  Duration oldest{};
};

std::size_t age_index(Duration age) {
  const auto* const found =
      std::find_if(kAges.begin(), kAges.end() - 1,
                   [age](const AgeColumn& column) { return age < column.below; });
  return static_cast<std::size_t>(found - kAges.begin());
}

std::vector<Row> rows_of(const TopView& view) {
  std::map<std::string, Row> by_route;
  for (const endpoints::TaskRow& task : view.tasks.tasks) {
    Row& row = by_route[task.label];
    row.route = task.label;
    ++row.live;
    ++row.by_age[age_index(task.age)];
    row.oldest = std::max(row.oldest, task.age);
  }
  std::vector<Row> rows;
  for (auto& [route, row] : by_route) {
    const auto stuck = view.stuck.by_label.find(route);
    if (stuck != view.stuck.by_label.end()) row.stuck = stuck->second;
    rows.push_back(std::move(row));
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    if ((a.stuck > 0) != (b.stuck > 0)) return a.stuck > 0;
    return a.oldest > b.oldest;
  });
  return rows;
}

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// At most `width` characters (code points) of `text`, as a terminal may show it.
std::string shown(std::string_view text, std::size_t width) {
  std::string out;
  std::size_t characters = 0;
  for (const char c : valid_utf8(text)) {
    if (!continues(c) && characters++ == width) break;
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  return out;
}

// U+0080 to U+009F are control characters too: 0xC2 and a byte below 0xA0.
std::string without_c1(std::string text) {
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] != '\xC2' || static_cast<unsigned char>(text[i + 1]) >= 0xA0) continue;
    text.replace(i, 2, "?");
  }
  return text;
}

std::string number(std::uint64_t value) { return value == 0 ? "." : std::to_string(value); }

std::string line_of(const Row& row, std::size_t route_width) {
  // fmt pads by characters, as shown() counts.
  std::string line =
      fmt::format("{:<{}}{:>6}{:>6}{:>9}", shown(without_c1(row.route), route_width), route_width,
                  row.live, number(row.stuck), format_duration(row.oldest));
  for (const std::uint64_t tasks : row.by_age) line += fmt::format("{:>7}", number(tasks));
  return line;
}

std::string head_of(std::size_t route_width) {
  std::string head =
      fmt::format("{:<{}}{:>6}{:>6}{:>9}", "ROUTE", route_width, "LIVE", "STUCK", "OLDEST");
  for (const AgeColumn& column : kAges) head += fmt::format("{:>7}", column.head);
  return head;
}

// As wide as the longest route, if there is room for it.
std::size_t route_width_of(const std::vector<Row>& rows, std::size_t columns) {
  std::size_t longest = kRouteWidthMin;
  for (const Row& row : rows) longest = std::max(longest, row.route.size());
  const std::size_t room = columns - std::min(columns, kNumbersWidth);
  return std::clamp(longest, kRouteWidthMin, std::max(kRouteWidthMin, room));
}

std::string summary_of(const TopView& view) {
  std::string line = fmt::format("{}: {} live", view.address, view.tasks.tasks.size());
  if (view.started_per_second) line += fmt::format(", {:.0f} started/s", *view.started_per_second);
  if (view.tasks.untracked > 0) line += fmt::format(", {} untracked", view.tasks.untracked);
  if (view.stuck.threshold == Duration::zero()) return line + ", watchdog off";
  return line + fmt::format(", {} stuck (over {})", view.stuck.tasks,
                            format_duration(view.stuck.threshold));
}

std::string styled(std::string line, std::string_view escape, TableStyle style) {
  if (style == TableStyle::kPlain) return line;
  return fmt::format("\033[{}m{}\033[0m", escape, line);
}

}  // namespace

std::vector<std::string> task_table(const TopView& view, TableSize size, TableStyle style) {
  std::vector<std::string> lines = {shown(summary_of(view), size.columns), ""};
  const std::vector<Row> rows = rows_of(view);
  if (rows.empty()) {
    lines.push_back(view.tasks.started == 0
                        ? "The program has marked no task yet; vigil dump shows its threads."
                        : "Nothing runs.");
  } else {
    const std::size_t route_width = route_width_of(rows, size.columns);
    lines.push_back(styled(shown(head_of(route_width), size.columns), "1", style));
    // One line is kept for the count of what has no place.
    const std::size_t room = size.rows > lines.size() ? size.rows - lines.size() : 0;
    const std::size_t fits = rows.size() <= room ? rows.size() : std::max<std::size_t>(room, 1) - 1;
    for (std::size_t i = 0; i < fits; ++i) {
      std::string line = shown(line_of(rows[i], route_width), size.columns);
      lines.push_back(rows[i].stuck > 0 ? styled(std::move(line), "31", style) : std::move(line));
    }
    if (fits < rows.size()) lines.push_back(fmt::format("and {} routes more", rows.size() - fits));
  }
  if (lines.size() > size.rows) lines.resize(size.rows);
  for (std::string& line : lines) {
    if (style == TableStyle::kPlain) line = shown(line, size.columns);
  }
  return lines;
}

}  // namespace vigil::command
