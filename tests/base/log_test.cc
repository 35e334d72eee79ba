#include "base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <limits>

#include <nlohmann/json.hpp>

#include "base/fake_clock.h"
#include "base/fd.h"
#include "tests/support/catch.h"
#include "tests/support/recording_sink.h"

namespace vigil {
namespace {

LogRecord record_with(std::span<const LogField> fields) {
  return {WallTime(std::chrono::microseconds(1'700'000'000'123'456)), LogLevel::kWarn, "leakwatch",
          "handler stuck", fields};
}

TEST_CASE("a record is one JSON object on one line, its fields in order") {
  const LogField fields[] = {
      {"label", "GET /stuck"}, {"age_ms", 1250}, {"ratio", 0.5}, {"last", true}};
  CHECK(to_json_line(record_with(fields)) ==
        "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"level\":\"warn\",\"source\":\"leakwatch\","
        "\"msg\":\"handler stuck\",\"label\":\"GET /stuck\",\"age_ms\":1250,\"ratio\":0.5,"
        "\"last\":true}\n");
}

TEST_CASE("hostile text in a field cannot break the line or the JSON") {
  const LogField fields[] = {{"stack", "a\n\"b\"\\\x01\xff\xc3\xa9"},
                             {"nan", std::numeric_limits<double>::quiet_NaN()}};
  const std::string line = to_json_line(record_with(fields));
  CHECK(line.find('\n') == line.size() - 1);
  const nlohmann::json parsed = nlohmann::json::parse(line);
  CHECK(parsed["stack"] == "a\n\"b\"\\\x01\xEF\xBF\xBD\xc3\xa9");
  CHECK(parsed["nan"].is_null());
}

TEST_CASE("the sink drops what is below its level and counts what it cannot write") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  JsonLineSink sink(writer.get(), LogLevel::kWarn);
  const Logger log(sink, "test");
  log.info("quiet");
  char buffer[256];
  CHECK(::read(reader.get(), buffer, sizeof buffer) < 0);
  log.warn("loud");
  CHECK(::read(reader.get(), buffer, sizeof buffer) > 0);
  CHECK(sink.lost() == 0);

  while (sink.lost() == 0) log.warn("until the pipe is full");
  CHECK(sink.lost() == 1);
}

class CountingSink final : public LogSink {
 public:
  void write(const LogRecord&) noexcept override { ++count; }
  int count = 0;
};

TEST_CASE("a filter decides by source and level: the first rule that names the record alone") {
  CountingSink next;
  FilterSink filter(next, {{.source = "access", .level_min = LogLevel::kError},
                           {.source = "tls", .level_min = LogLevel::kDebug},
                           {.level_min = LogLevel::kWarn}});
  const auto passes = [&](std::string_view source, LogLevel level) {
    const int before = next.count;
    filter.write({{}, level, source, "access tls", {}});
    return next.count > before;
  };
  CHECK_FALSE(passes("access", LogLevel::kWarn));
  CHECK(passes("access", LogLevel::kError));
  CHECK(passes("tls", LogLevel::kDebug));
  CHECK_FALSE(passes("server", LogLevel::kInfo));  // whatever its text says
  CHECK(passes("server", LogLevel::kWarn));
  CHECK_FALSE(passes("access2", LogLevel::kInfo));
  CHECK(filter.dropped() == 3);
}

TEST_CASE("a filter's rule can name the kind of a record") {
  CountingSink next;
  FilterSink filter(next,
                    {{.source = "server", .level_min = LogLevel::kError, .kind = "tls_handshake"}});
  const auto passes = [&](std::string_view source, std::initializer_list<LogField> fields) {
    const int before = next.count;
    filter.write({{}, LogLevel::kWarn, source, "", std::span(fields.begin(), fields.size())});
    return next.count > before;
  };
  CHECK_FALSE(passes("server", {{"n", 1}, {"kind", "tls_handshake"}}));
  CHECK(passes("other", {{"kind", "tls_handshake"}}));
  CHECK(passes("server", {{"kind", "tls_handshakes"}}));
  CHECK(passes("server", {{"kind", 7}}));
  CHECK(passes("server", {{"reason", "tls_handshake"}}));
  CHECK(passes("server", {}));
}

TEST_CASE("without a rule that names it, a record passes the filter") {
  CountingSink next;
  FilterSink filter(next, {{.source = "access", .level_min = LogLevel::kError}});
  filter.write({{}, LogLevel::kDebug, "server", "", {}});
  CHECK(next.count == 1);
  CHECK(filter.dropped() == 0);
}

TEST_CASE("a LevelSink passes what is at or above its level, which can be set for a time") {
  RecordingSink lines;
  FakeClock clock;
  LevelSink sink(lines, clock, LogLevel::kWarn);
  const Logger log(sink, "test");
  const auto passed = [&] {
    const std::size_t before = lines.lines().size();
    log.debug("d");
    log.info("i");
    log.warn("w");
    log.error("e");
    return lines.lines().size() - before;
  };
  CHECK(passed() == 2);
  sink.set_level(LogLevel::kError);
  CHECK(passed() == 1);
  CHECK_FALSE(sink.until());

  sink.set_level_for(LogLevel::kDebug, std::chrono::minutes(10));
  CHECK(sink.level() == LogLevel::kDebug);
  CHECK(sink.until() == clock.now() + std::chrono::minutes(10));
  CHECK(passed() == 4);
  clock.advance(std::chrono::minutes(10) - Duration(1));
  CHECK(passed() == 4);
  clock.advance(Duration(1));
  CHECK(passed() == 1);  // the level before
  CHECK_FALSE(sink.until());

  sink.set_level_for(LogLevel::kDebug, std::chrono::minutes(10));
  sink.set_level(LogLevel::kInfo);
  CHECK(passed() == 3);
  // Each change has said so, above every level.
  std::size_t changes = 0;
  for (const std::string& line : lines.lines()) {
    changes += line.find("\"log level changed\"") != std::string::npos;
  }
  CHECK(changes == 4);
}

TEST_CASE("a log level by its name") {
  for (LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError}) {
    CHECK(log_level_of(log_level_name(level)) == level);
  }
  for (const char* name : {"", "Debug", "warning", "info "}) CHECK_FALSE(log_level_of(name));
}

}  // namespace
}  // namespace vigil
