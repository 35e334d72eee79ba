// What the watchdog tells beside its log: callbacks, high watermarks, draining.
#include <fcntl.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/process_counts.h"
#include "tests/leakwatch/watchdog_fixture.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;
using Fixture = test::WatchdogFixture;

// What callbacks were told, in order.
class Told {
 public:
  void add(std::string what) {
    {
      std::lock_guard lock(mutex_);
      what_.push_back(std::move(what));
    }
    changed_.notify_all();
  }
  // The first `count`, once there are so many.
  std::vector<std::string> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return what_.size() >= count; });
    return what_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> what_;
};

TEST_CASE("the program is told of a report, of its doubling and of its end") {
  Told told;
  Fixture f({.threshold = 1s, .callbacks = {.on_stuck = [&](const StuckReport& report) {
                                told.add(std::string(episode_state_name(report.state)) + " " +
                                         std::string(report.task.label) + " level " +
                                         std::to_string(report.level));
                              }}});
  {
    Task task(f.registry, f.registry.intern("GET /stuck"));
    f.clock.advance(1s);
    f.step();
    f.step();
    f.clock.advance(1s);
    f.step();
  }
  f.step();
  CHECK(told.wait_for(3) == std::vector<std::string>{"stuck GET /stuck level 0",
                                                     "stuck GET /stuck level 1",
                                                     "recovered GET /stuck level 1"});
  CHECK(f.watchdog->counters().callbacks.called == 3);
}

TEST_CASE("a pass does not wait for a callback, and one beyond its budget is counted and logged") {
  std::promise<void> begun;
  std::promise<void> go;
  Fixture f({.threshold = 1s,
             .callbacks = {.on_stuck =
                               [&](const StuckReport& report) {
                                 if (report.state == EpisodeState::kRecovered) return;
                                 begun.set_value();
                                 go.get_future().wait();
                               },
                           .thread = {.budget = 2s}}});
  {
    Task task(f.registry, f.registry.intern("GET /stuck"));
    f.clock.advance(1s);
    f.step();
    begun.get_future().wait();
    f.clock.advance(2s);
    f.step();
    CHECK(f.watchdog->counters().callbacks.overrun == 0);
    f.clock.advance(1ns);
    f.step();
    f.step();
    CHECK(f.watchdog->counters().callbacks.overrun == 1);
  }
  go.set_value();
  std::size_t records = 0;
  for (const std::string& line : f.sink.lines()) {
    records += line.find("takes longer than its budget") != std::string::npos ? 1 : 0;
  }
  CHECK(records == 1);
}

TEST_CASE("a high watermark is logged, kept and told once a crossing, with its peak") {
  Told told;
  Fixture f({.threshold = 1h,
             .high_watermarks = {.tasks = 2},
             .callbacks = {.on_high_watermark = [&](const WatermarkReport& report) {
               told.add(watermark_text(report));
             }}});
  const TaskLabel label = f.registry.intern("GET /x");
  {
    Task a(f.registry, label);
    Task b(f.registry, label);
    f.step();
    CHECK(f.watchdog->watermarks().empty());
    Task c(f.registry, label);
    f.step();
    Task d(f.registry, label);
    f.step();
    const auto watermarks = f.watchdog->watermarks();
    REQUIRE(watermarks.size() == 1);
    CHECK(watermarks[0].number == 1);
    CHECK(watermarks[0].value == 3);
    CHECK(watermarks[0].peak == 4);
    CHECK_FALSE(watermarks[0].over);
    CHECK(watermarks[0].dump.find("       3  GET /x") != std::string::npos);
  }
  f.step();
  CHECK(f.watchdog->watermarks()[0].over);
  CHECK(f.watchdog->counters().watermarks == 1);
  CHECK(told.wait_for(1) == std::vector<std::string>{"3 tasks, more than 2"});
  REQUIRE(f.sink.lines().size() == 1);
  CHECK(f.sink.lines()[0].find("\"msg\":\"high watermark\",\"what\":\"tasks\",\"value\":3,"
                               "\"limit\":2") != std::string::npos);
}

TEST_CASE("watermarks work with the watchdog off, and nothing is flagged then") {
  Fixture f({.threshold = 0s, .high_watermarks = {.threads = 1'000'000, .descriptors = 1}});
  CHECK(f.watchdog->interval() == 1s);
  Task task(f.registry, f.registry.intern("x"));
  f.clock.advance(1h);
  f.step();
  CHECK(f.watchdog->reports().empty());
  REQUIRE(f.watchdog->watermarks().size() == 1);
  CHECK(f.watchdog->watermarks()[0].kind == WatermarkKind::kDescriptors);
}

TEST_CASE("threads and descriptors are counted once a second, tasks in every pass") {
  constexpr std::uint64_t kRoom = 5;
  Fixture f({.threshold = 1h,
             .high_watermarks = {.tasks = 1, .descriptors = count_descriptors() + kRoom}});
  f.step();
  std::vector<UniqueFd> open;
  for (std::uint64_t i = 0; i <= kRoom; ++i) {
    open.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  const Task a(f.registry, f.registry.intern("x"));
  const Task b(f.registry, f.registry.intern("x"));
  f.clock.advance(1s - 1ns);
  f.step();
  REQUIRE(f.watchdog->watermarks().size() == 1);
  CHECK(f.watchdog->watermarks()[0].kind == WatermarkKind::kTasks);
  f.clock.advance(1ns);
  f.step();
  REQUIRE(f.watchdog->watermarks().size() == 2);
  CHECK(f.watchdog->watermarks()[0].kind == WatermarkKind::kDescriptors);
}

TEST_CASE("while the server drains, reports say so: those that are open, and new ones") {
  Fixture f;
  f.stacks.each_elsewhere = true;
  std::optional<Task> over(std::in_place, f.registry, f.registry.intern("over"));
  f.clock.advance(1s);
  f.step();
  over.reset();
  f.step();
  Task before(f.registry, f.registry.intern("before"));
  f.clock.advance(1s);
  f.step();
  f.watchdog->server_is_draining();
  Task after(f.registry, f.registry.intern("after"));
  f.clock.advance(1s);
  f.step();
  const auto reports = f.watchdog->reports();  // newest first
  REQUIRE(reports.size() == 3);
  CHECK(reports[0].task.label == "after");
  CHECK(reports[0].draining);
  CHECK(reports[1].task.label == "before");
  CHECK(reports[1].draining);
  CHECK_FALSE(reports[2].draining);
  CHECK(f.sink.lines().back().find("\"draining\":true") != std::string::npos);
  CHECK(f.watchdog->stuck_tasks().size() == 2);
}

}  // namespace
}  // namespace vigil::leakwatch
