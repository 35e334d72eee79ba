// Micro-benchmarks of what a unit of work costs that is watched: its task, its labels, its log line.

#include <benchmark/benchmark.h>

#include <deque>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "leakwatch/task_registry.h"
#include "leakwatch/watchdog.h"
#include "sampler/labels.h"
#include "tests/leakwatch/watchdog_fixture.h"

namespace vigil {
namespace {

using leakwatch::Task;
using leakwatch::TaskRegistry;

// Begin and end beside `range` that are live.
void task(benchmark::State& state) {
  SystemClock clock;
  TaskRegistry registry(clock, {.tasks_max = 128 * 1024});
  const auto label = registry.intern("GET /bench");
  std::deque<Task> live;
  for (std::int64_t i = 0; i < state.range(0); ++i) live.emplace_back(registry, label);
  for (auto _ : state) const Task one(registry, label);
  while (!live.empty()) live.pop_back();
}
BENCHMARK(task)->Arg(0)->RangeMultiplier(10)->Range(1, 100'000);

// As the engine begins one: it has read the clock already.
void task_with_time(benchmark::State& state) {
  SystemClock clock;
  TaskRegistry registry(clock);
  const auto label = registry.intern("GET /bench");
  const MonotonicTime now = clock.now();
  for (auto _ : state) const Task one(registry, label, now);
}
BENCHMARK(task_with_time);

void clock_read(benchmark::State& state) {
  SystemClock clock;
  for (auto _ : state) benchmark::DoNotOptimize(clock.now());
}
BENCHMARK(clock_read);

void task_snapshot(benchmark::State& state) {
  SystemClock clock;
  TaskRegistry registry(clock, {.tasks_max = 128 * 1024});
  const auto label = registry.intern("GET /bench");
  std::deque<Task> live;
  for (std::int64_t i = 0; i < state.range(0); ++i) live.emplace_back(registry, label);
  std::vector<leakwatch::TaskInfo> tasks;
  for (auto _ : state) registry.snapshot_unsorted(tasks);
  if (tasks.size() != live.size()) state.SkipWithError("tasks are missing");
  while (!live.empty()) live.pop_back();
}
BENCHMARK(task_snapshot)->RangeMultiplier(10)->Range(1, 100'000);

// A pass that finds nothing stuck.
void watchdog_pass(benchmark::State& state) {
  SystemClock clock;
  TaskRegistry registry(clock, {.tasks_max = 128 * 1024});
  leakwatch::test::FakeStacks stacks;
  JsonLineSink sink(2, LogLevel::kError);
  auto watchdog = leakwatch::Watchdog::create({.threshold = std::chrono::hours(1)}, registry,
                                              stacks, sink, clock);
  const auto label = registry.intern("GET /bench");
  std::deque<Task> live;
  for (std::int64_t i = 0; i < state.range(0); ++i) live.emplace_back(registry, label);
  for (auto _ : state) (*watchdog)->step(clock.now());
  while (!live.empty()) live.pop_back();
}
BENCHMARK(watchdog_pass)->RangeMultiplier(10)->Range(1, 100'000);

void label_scope(benchmark::State& state) {
  for (auto _ : state) const LabelScope scope({{"tenant", "acme"}, {"plan", "gold"}});
}
BENCHMARK(label_scope);

void log_line(benchmark::State& state) {
  const LogField fields[] = {
      {"method", "GET"}, {"path", "/orders/4711"},    {"status", 200}, {"bytes", 12'345},
      {"ms", 1.25},      {"peer", "192.0.2.7:50123"}, {"reused", true}};
  const LogRecord record{WallTime(std::chrono::seconds(1'700'000'000)), LogLevel::kInfo, "access",
                         "request", fields};
  for (auto _ : state) benchmark::DoNotOptimize(to_json_line(record));
}
BENCHMARK(log_line);

// A record that nobody wants: what a debug() in a handler costs.
void log_below_level(benchmark::State& state) {
  const LogField fields[] = {{"status", 200}};
  const LogRecord record{WallTime(std::chrono::seconds(1'700'000'000)), LogLevel::kDebug, "access",
                         "request", fields};
  JsonLineSink sink(2, LogLevel::kError);
  for (auto _ : state) sink.write(record);
}
BENCHMARK(log_below_level);

}  // namespace
}  // namespace vigil
