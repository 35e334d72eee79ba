#include "leakwatch/leakcheck/allow_list.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::leakwatch {
namespace {

using std::chrono::year_month_day;

constexpr std::array<std::string_view, 9> kKinds = {
    "task", "thread", "descriptor", "socket", "timer", "process", "heap", "stuck", "any"};
constexpr std::string_view kProcess = "process";
constexpr std::string_view kProcessKind = "child process";
constexpr std::array<std::string_view, 3> kFields = {"name", "function", "created"};

Error mistake(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

bool is_space(char c) { return c == ' ' || c == '\t'; }

void skip_spaces(std::string_view& rest) {
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
}

// What comes before the next space.
std::string_view take_word(std::string_view& rest) {
  skip_spaces(rest);
  const auto end = std::find_if(rest.begin(), rest.end(), is_space);
  const std::string_view word = rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
  rest.remove_prefix(word.size());
  return word;
}

// After the opening quote.
Result<std::string> take_quoted(std::string_view& rest) {
  std::string text;
  while (!rest.empty()) {
    char c = rest.front();
    rest.remove_prefix(1);
    if (c == '"') return text;
    if (c == '\\') {
      if (rest.empty() || (rest.front() != '"' && rest.front() != '\\')) {
        return mistake("a backslash in quotes is followed by neither a quote nor a backslash");
      }
      c = rest.front();
      rest.remove_prefix(1);
    }
    text += c;
  }
  return mistake("a quote is not closed");
}

Result<std::string> take_pattern(std::string_view& rest) {
  if (rest.starts_with('"')) {
    rest.remove_prefix(1);
    auto quoted = take_quoted(rest);
    if (!quoted) return quoted;
    if (!rest.empty() && !is_space(rest.front()))
      return mistake("a space is missing after a quote");
    if (quoted->empty()) return mistake("the pattern is empty");
    return quoted;
  }
  const std::string_view word = rest.empty() || is_space(rest.front()) ? "" : take_word(rest);
  if (word.empty()) return mistake("the pattern is empty");
  if (word.find('"') != std::string_view::npos) return mistake("a quote inside a pattern");
  return std::string(word);
}

Result<void> take_field(std::string_view& rest, AllowField& field) {
  skip_spaces(rest);
  for (std::size_t i = 0; i < kFields.size(); ++i) {
    const std::string_view name = kFields[i];
    if (rest.starts_with(name) && rest.substr(name.size()).starts_with('=')) {
      rest.remove_prefix(name.size() + 1);
      field = static_cast<AllowField>(i);
      return {};
    }
  }
  return mistake("after the kind comes name=, function= or created=");
}

std::optional<int> digits(std::string_view text) {
  const auto number = parse_integer(text, 0, 9999);
  if (!number) return std::nullopt;
  return static_cast<int>(*number);
}

Result<year_month_day> parse_day(std::string_view text) {
  if (text.size() == 10 && text[4] == '-' && text[7] == '-') {
    const auto year = digits(text.substr(0, 4));
    const auto month = digits(text.substr(5, 2));
    const auto day = digits(text.substr(8, 2));
    if (year && month && day) {
      const year_month_day date{std::chrono::year(*year),
                                std::chrono::month(static_cast<unsigned>(*month)),
                                std::chrono::day(static_cast<unsigned>(*day))};
      if (date.ok()) return date;
    }
  }
  return mistake(fmt::format("not a day YYYY-MM-DD: {}", valid_utf8(text)));
}

std::string day_text(year_month_day day) {
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day.year()),
                     static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()));
}

// "until YYYY-MM-DD: REASON".
Result<void> take_day_and_reason(std::string_view rest, AllowEntry& entry) {
  if (take_word(rest) != "until") return mistake("after the pattern comes \"until YYYY-MM-DD:\"");
  std::string_view day = take_word(rest);
  if (!day.ends_with(':')) return mistake("after the day comes a colon and the reason");
  day.remove_suffix(1);
  const auto parsed = parse_day(day);
  if (!parsed) return parsed.error();
  entry.last_day = *parsed;
  skip_spaces(rest);
  while (!rest.empty() && is_space(rest.back())) rest.remove_suffix(1);
  if (rest.empty()) return mistake("the reason is missing");
  entry.reason = rest;
  return {};
}

Result<AllowEntry> parse_line(std::string_view line) {
  if (line.size() > kAllowLineBytesMax) {
    return mistake(fmt::format("longer than {} bytes", kAllowLineBytesMax));
  }
  if (line.find('\0') != std::string_view::npos) return mistake("a NUL byte");
  AllowEntry entry;
  const std::string_view kind = take_word(line);
  if (std::find(kKinds.begin(), kKinds.end(), kind) == kKinds.end()) {
    return mistake(
        fmt::format("not a kind: \"{}\" (task, thread, descriptor, socket, timer, "
                    "process, heap, stuck or any)",
                    valid_utf8(kind)));
  }
  entry.kind = kind == kProcess ? kProcessKind : kind;
  if (Result<void> field = take_field(line, entry.field); !field) return field.error();
  auto pattern = take_pattern(line);
  if (!pattern) return pattern.error();
  entry.pattern = *std::move(pattern);
  if (Result<void> rest = take_day_and_reason(line, entry); !rest) return rest.error();
  return entry;
}

bool is_skipped(std::string_view line) {
  skip_spaces(line);
  return line.empty() || line.front() == '#';
}

}  // namespace

Result<std::vector<AllowEntry>> parse_allow_list(std::string_view text, year_month_day today) {
  std::vector<AllowEntry> entries;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto refuse = [number](std::string_view what) {
      return mistake(fmt::format("{}: {}", number, what));
    };
    if (number > kAllowLinesMax) return refuse(fmt::format("more than {} lines", kAllowLinesMax));
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (is_skipped(line)) continue;
    auto entry = parse_line(line);
    if (!entry) return refuse(entry.error().message());
    if (entry->last_day < today) {
      return refuse(
          fmt::format("expired on {}: {}", day_text(entry->last_day), valid_utf8(entry->reason)));
    }
    entry->line = number;
    entries.push_back(*std::move(entry));
  }
  return entries;
}

std::string format_allow_entry(const AllowEntry& entry) {
  std::string quoted;
  for (const char c : entry.pattern) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return fmt::format("{} {}=\"{}\" until {}: {}",
                     entry.kind == kProcessKind ? kProcess : std::string_view(entry.kind),
                     kFields[static_cast<std::size_t>(entry.field)], quoted,
                     day_text(entry.last_day), entry.reason);
}

}  // namespace vigil::leakwatch
