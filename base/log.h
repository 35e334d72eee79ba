// Structured log records, and the sink that they go to.
//
//   Logger log(sink, "leakwatch");
//   log.warn("handler stuck", {{"label", "GET /stuck"}, {"age_ms", 1250}, {"stack", text}});
//
// A record has a source attribute, so a program filters by attribute and never by matching text.
// vigil itself has no other way to say something: nothing is printed past the sink.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"

namespace vigil {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };

std::string_view log_level_name(LogLevel level);

// The level of that name ("debug", "info", "warn", "error"); nullopt: there is none.
std::optional<LogLevel> log_level_of(std::string_view name);

// One named value of a record. Borrows: the key and a string value must live until the call
// returns.
struct LogField {
  std::string_view key;
  std::variant<std::int64_t, double, bool, std::string_view> value;

  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
  LogField(std::string_view k, bool v) : key(k), value(v) {}
  LogField(std::string_view k, double v) : key(k), value(v) {}
  template <typename Integer>
  requires std::is_integral_v<Integer> LogField(std::string_view k, Integer v)
      : key(k), value(static_cast<std::int64_t>(v)) {}
};

struct LogRecord {
  WallTime time;
  LogLevel level;
  std::string_view source;   // the part that speaks: "server", "leakwatch", "agent", …
  std::string_view message;  // constant text; what varies is in the fields
  std::span<const LogField> fields;
};

// Where records go. write() is called from any thread, several at once; it must not call back into
// vigil and should not block for long, because a handler's thread may be the caller. It must not
// throw.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void write(const LogRecord& record) noexcept = 0;
};

// The record as one JSON object on one line, with "\n": time (RFC 3339, UTC, microseconds), level,
// source, msg, then the fields in their order. Invalid UTF-8 becomes U+FFFD. Pure.
std::string to_json_line(const LogRecord& record);

// Writes to_json_line() to a descriptor that it does not own, a record a write(2), so lines of
// several threads do not mix in a pipe or file. Records below `level_min` are dropped. What the
// descriptor does not take is counted.
class JsonLineSink final : public LogSink {
 public:
  explicit JsonLineSink(int fd = 2, LogLevel level_min = LogLevel::kInfo)
      : fd_(fd), level_min_(level_min) {}
  void write(const LogRecord& record) noexcept override;

  // Records that could not be written since the start.
  std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  int fd_;
  LogLevel level_min_;
  std::atomic<std::uint64_t> lost_{0};
};

// Which records a FilterSink lets pass: by their attributes, never by their text.
struct LogRule {
  std::string source = {};                // equal to the record's source; empty: every source
  LogLevel level_min = LogLevel::kDebug;  // the least level that passes
  // Equal to the record's text field "kind", such as "tls_handshake"; empty: whatever that is, and
  // records without one.
  std::string kind = {};
};

// Passes on what its rules let pass: the first rule with the record's source and kind, or with
// none, decides alone; a record that no rule names passes.
//
//   FilterSink errors(sink, {{.source = "access", .level_min = LogLevel::kError},
//                            {.level_min = LogLevel::kInfo}});
//
// Thread-safe as `next` is, which must outlive it. Cost: a comparison a rule, no allocation.
class FilterSink final : public LogSink {
 public:
  FilterSink(LogSink& next, std::vector<LogRule> rules) : next_(next), rules_(std::move(rules)) {}
  void write(const LogRecord& record) noexcept override;

  // Records that a rule has held back since the start.
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  LogSink& next_;
  const std::vector<LogRule> rules_;
  std::atomic<std::uint64_t> dropped_{0};
};

// Passes on what is at or above a level that can be changed while the program runs, for good or for a
// time. Each change is a record itself (source "log"), whatever the level.
//
//   JsonLineSink json(2, LogLevel::kDebug);
//   LevelSink sink(json, clock, LogLevel::kInfo);
//   sink.set_level_for(LogLevel::kDebug, 10min);     // then kInfo again, by itself
//
// Thread-safe as `next` is; it and `clock` must outlive this. Cost: two loads, and a clock read while
// a level is set for a time.
class LevelSink final : public LogSink {
 public:
  LevelSink(LogSink& next, Clock& clock, LogLevel level)
      : next_(next), clock_(clock), level_(level) {}
  void write(const LogRecord& record) noexcept override;

  // What counts now.
  LogLevel level() const;
  // When the level of set_level_for() ends; nullopt: the level stays.
  std::optional<MonotonicTime> until() const;

  void set_level(LogLevel level);
  // Then the level that set_level(), or the constructor, has set.
  void set_level_for(LogLevel level, Duration time);

 private:
  void report(LogLevel level, Duration time);

  LogSink& next_;
  Clock& clock_;
  std::atomic<LogLevel> level_;
  std::atomic<LogLevel> for_a_time_{LogLevel::kInfo};
  std::atomic<std::int64_t> until_ns_{0};  // 0: level_ counts
};

// A source's handle on a sink. Copyable and cheap; the sink must outlive it. Thread-safe as the
// sink is.
class Logger {
 public:
  using Fields = std::initializer_list<LogField>;

  Logger(LogSink& sink, std::string_view source) : sink_(&sink), source_(source) {}

  void debug(std::string_view message, Fields fields = {}) const {
    write(LogLevel::kDebug, message, fields);
  }
  void info(std::string_view message, Fields fields = {}) const {
    write(LogLevel::kInfo, message, fields);
  }
  void warn(std::string_view message, Fields fields = {}) const {
    write(LogLevel::kWarn, message, fields);
  }
  void error(std::string_view message, Fields fields = {}) const {
    write(LogLevel::kError, message, fields);
  }
  // For a level or fields that are not known when the call is written.
  void write(LogLevel level, std::string_view message, std::span<const LogField> fields) const;

 private:
  void write(LogLevel level, std::string_view message, Fields fields) const {
    write(level, message, std::span(fields.begin(), fields.size()));
  }

  LogSink* sink_;
  std::string_view source_;
};

}  // namespace vigil
