#include "base/log.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <iterator>
#include <string>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil {
namespace {

// RFC 3339 in UTC with microseconds: "2026-11-22T14:25:00.123456Z".
void append_time(std::string& out, WallTime time) {
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  append_utc_seconds(out, time);
  fmt::format_to(std::back_inserter(out), ".{:06}Z", us % 1'000'000);
}

struct FieldValueWriter {
  std::string& out;
  void operator()(std::int64_t value) const { out += std::to_string(value); }
  // JSON has no infinity and no NaN.
  void operator()(double value) const {
    out += std::isfinite(value) ? fmt::format("{}", value) : "null";
  }
  void operator()(bool value) const { out += value ? "true" : "false"; }
  void operator()(std::string_view value) const {
    out += '"';
    append_json_escaped(out, value);
    out += '"';
  }
};

void append_string_member(std::string& out, std::string_view key, std::string_view value) {
  out += ",\"";
  append_json_escaped(out, key);
  out += "\":";
  FieldValueWriter{out}(value);
}

// Writes all of `line`, waiting out interruptions only. A short write is completed; a full pipe of
// a non-blocking descriptor loses the rest, and the caller counts it.
bool write_all(int fd, std::string_view line) {
  while (!line.empty()) {
    const ssize_t n = ::write(fd, line.data(), line.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    line.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

std::string_view log_level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
  }
  return "unknown";
}

std::optional<LogLevel> log_level_of(std::string_view name) {
  for (LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError}) {
    if (log_level_name(level) == name) return level;
  }
  return std::nullopt;
}

std::string to_json_line(const LogRecord& record) {
  std::string out = "{\"time\":\"";
  append_time(out, record.time);
  out += '"';
  append_string_member(out, "level", log_level_name(record.level));
  append_string_member(out, "source", record.source);
  append_string_member(out, "msg", record.message);
  for (const LogField& field : record.fields) {
    out += ",\"";
    append_json_escaped(out, field.key);
    out += "\":";
    std::visit(FieldValueWriter{out}, field.value);
  }
  out += "}\n";
  return out;
}

void JsonLineSink::write(const LogRecord& record) noexcept {
  if (record.level < level_min_) return;
  bool written = false;
  try {
    written = write_all(fd_, to_json_line(record));
  } catch (const std::bad_alloc&) {
    // counted below: a log line is not worth the program's life
  }
  if (!written) lost_.fetch_add(1, std::memory_order_relaxed);
}

namespace {

std::string_view kind_of(const LogRecord& record) {
  for (const LogField& field : record.fields) {
    const auto* text = std::get_if<std::string_view>(&field.value);
    if (text != nullptr && field.key == "kind") return *text;
  }
  return {};
}

}  // namespace

void LevelSink::write(const LogRecord& record) noexcept {
  if (record.level >= level()) next_.write(record);
}

LogLevel LevelSink::level() const {
  return until() ? for_a_time_.load(std::memory_order_relaxed)
                 : level_.load(std::memory_order_relaxed);
}

std::optional<MonotonicTime> LevelSink::until() const {
  const std::int64_t until_ns = until_ns_.load(std::memory_order_acquire);
  if (until_ns == 0) return std::nullopt;
  const MonotonicTime until{Duration(until_ns)};
  if (clock_.now() >= until) return std::nullopt;
  return until;
}

void LevelSink::set_level(LogLevel level) {
  level_.store(level, std::memory_order_relaxed);
  until_ns_.store(0, std::memory_order_release);
  report(level, Duration(0));
}

void LevelSink::set_level_for(LogLevel level, Duration time) {
  for_a_time_.store(level, std::memory_order_relaxed);
  until_ns_.store((clock_.now() + time).time_since_epoch().count(), std::memory_order_release);
  report(level, time);
}

void LevelSink::report(LogLevel level, Duration time) {
  const LogField fields[] = {{"level", log_level_name(level)},
                             {"for_ms", whole_milliseconds(time)}};
  next_.write({.time = clock_.wall_now(),
               .level = LogLevel::kWarn,
               .source = "log",
               .message = "log level changed",
               .fields = fields});
}

void FilterSink::write(const LogRecord& record) noexcept {
  for (const LogRule& rule : rules_) {
    if (!rule.source.empty() && rule.source != record.source) continue;
    if (!rule.kind.empty() && rule.kind != kind_of(record)) continue;
    if (record.level >= rule.level_min) break;
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  next_.write(record);
}

void Logger::write(LogLevel level, std::string_view message,
                   std::span<const LogField> fields) const {
  sink_->write({SystemClock().wall_now(), level, source_, message, fields});
}

}  // namespace vigil
