// The watchdog and tasks that live as long as their clients (Task::stream()).
#include <optional>

#include "leakwatch/watchdog.h"
#include "tests/leakwatch/watchdog_fixture.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;
using Fixture = test::WatchdogFixture;

TEST_CASE("a streaming task is flagged for want of progress, never for its age, and once a stall") {
  Fixture f;
  Task task(f.registry, f.registry.intern("GET /events"));
  const TaskProgress progress = Task::stream(2s);
  for (int i = 0; i < 10; ++i) {  // ten seconds old, past every threshold, but moving
    f.clock.advance(2s - 1ms);
    f.step();
    progress.made();
  }
  f.clock.advance(2s - 1ns);
  f.step();
  CHECK(f.watchdog->reports().empty());

  f.clock.advance(1ns);
  f.step();
  f.clock.advance(1s);
  f.step();
  auto reports = f.watchdog->reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].stalled);
  CHECK_FALSE(reports[0].leaked);
  CHECK(reports[0].task.stalled_after == 2s);
  CHECK(f.watchdog->counters().stuck_now == 1);
  REQUIRE(f.sink.lines().size() == 1);
  const std::string line = f.sink.lines()[0];
  for (const char* part : {"\"msg\":\"stream stalled\"", "\"without_progress_ms\":2000",
                           "\"threshold_ms\":2000", "demo::wait_forever"}) {
    INFO(part);
    CHECK(line.find(part) != std::string::npos);
  }

  progress.made();
  f.step();
  CHECK(f.watchdog->reports()[0].state == EpisodeState::kRecovered);
  CHECK(f.watchdog->counters().stuck_now == 0);
  REQUIRE(f.sink.lines().size() == 2);
  CHECK(f.sink.lines()[1].find("\"msg\":\"stream moves again\"") != std::string::npos);

  f.clock.advance(2s);
  f.step();
  CHECK(f.watchdog->counters().flagged == 2);
  CHECK(f.watchdog->counters().stalled == 2);
}

TEST_CASE(
    "a streaming task that waits for its peer is not stalled, one that has come back may be") {
  Fixture f;
  Task task(f.registry, f.registry.intern("GET /ws"));
  const TaskProgress progress = Task::stream(2s);
  progress.waits();
  f.clock.advance(24h);
  f.step();
  CHECK(f.watchdog->reports().empty());
  progress.made();
  f.clock.advance(2s);
  f.step();
  CHECK(f.watchdog->counters().stalled == 1);
  progress.waits();  // also the end of a stall
  f.step();
  CHECK(f.watchdog->counters().stuck_now == 0);
}

TEST_CASE("a stream that moves while its stack is taken is not flagged") {
  Fixture f;
  Task task(f.registry, f.registry.intern("x"));
  const TaskProgress progress = Task::stream(2s);
  f.clock.advance(2s);
  f.stacks.during_capture = [&] { progress.made(); };
  f.step();
  CHECK(f.stacks.captured == 1);
  CHECK(f.watchdog->reports().empty());
}

TEST_CASE("a streaming task beyond its own timeout has leaked, and stays so although it moves") {
  Fixture f;
  const MonotonicTime now = f.clock.now();
  Task task(f.registry, f.registry.intern("x"), TaskStart{.now = now, .gives_up_at = now + 1s});
  const TaskProgress progress = Task::stream(1h);
  f.clock.advance(2s);
  f.step();
  progress.made();
  f.step();
  REQUIRE(f.watchdog->reports().size() == 1);
  CHECK(f.watchdog->reports()[0].leaked);
  CHECK_FALSE(f.watchdog->reports()[0].stalled);
  CHECK(f.watchdog->counters().stuck_now == 1);
}

TEST_CASE("a task that says late that it streams is no longer stuck") {
  Fixture f;
  Task task(f.registry, f.registry.intern("x"));
  f.clock.advance(2s);
  f.step();
  CHECK(f.watchdog->counters().stuck_now == 1);
  (void)Task::stream(10s);
  f.step();
  CHECK(f.watchdog->counters().stuck_now == 0);
}

}  // namespace
}  // namespace vigil::leakwatch
