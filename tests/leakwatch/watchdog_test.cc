#include "leakwatch/watchdog.h"

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <thread>

#include "base/fake_clock.h"
#include "base/thread_id.h"
#include "tests/support/catch.h"
#include "tests/support/recording_sink.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;

// Answers every capture with one frame, and runs a hook first, so that a test can act while a
// capture is under way.
class FakeStacks final : public StackSource {
 public:
  std::function<void()> during_capture = [] {};
  std::size_t captured = 0;

  std::vector<LiveStack> capture(std::span<const pid_t> threads, MonotonicTime) override {
    during_capture();
    std::vector<LiveStack> stacks;
    for (pid_t thread : threads) stacks.push_back(stack_of(thread));
    captured += threads.size();
    return stacks;
  }
  std::vector<LiveStack> capture_all(MonotonicTime) override { return {}; }
  std::vector<WaitEdge> lock_waits(std::span<const pid_t>) override { return {}; }

 private:
  static LiveStack stack_of(pid_t thread) {
    LiveStack stack;
    stack.thread = thread;
    stack.thread_name = "worker";
    stack.state = "futex wait";
    stack.frames = {{.function = "demo::wait_forever", .file = "/src/demo.cc", .line = 81}};
    stack.end = sampler::StackEnd::kComplete;
    return stack;
  }
};

struct Fixture {
  FakeClock clock;
  TaskRegistry registry{clock};
  FakeStacks stacks;
  RecordingSink sink;
  std::unique_ptr<Watchdog> watchdog;

  explicit Fixture(WatchdogOptions options = {.threshold = 1s}) {
    watchdog = *Watchdog::create(options, registry, stacks, sink, clock);
  }
  void step() { watchdog->step(clock.now()); }
};

TEST_CASE("a task is flagged at its threshold, not one unit before, and once") {
  Fixture f;
  Task task(f.registry, f.registry.intern("GET /stuck"));
  f.clock.advance(1s - 1ns);
  f.step();
  CHECK(f.watchdog->reports().empty());

  f.clock.advance(1ns);
  f.step();
  f.clock.advance(10s);
  f.step();
  const auto reports = f.watchdog->reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].state == EpisodeState::kStuck);
  CHECK(reports[0].task.label == "GET /stuck");
  CHECK(reports[0].task.thread == current_thread_id());
  CHECK(reports[0].age_when_flagged == 1s);
  REQUIRE(reports[0].stack.frames.size() == 1);
  CHECK(reports[0].stack.frames[0].function == "demo::wait_forever");
  CHECK(f.watchdog->counters().flagged == 1);
  CHECK(f.watchdog->counters().stuck_now == 1);
}

TEST_CASE("the log has one record when flagged and one when recovered") {
  Fixture f;
  {
    Task task(f.registry, f.registry.intern("GET /stuck"));
    f.clock.advance(1250ms);
    f.step();
    f.step();
    REQUIRE(f.sink.lines().size() == 1);
    const std::string line = f.sink.lines()[0];
    for (const char* part :
         {"\"level\":\"warn\"", "\"source\":\"leakwatch\"", "\"msg\":\"handler stuck\"",
          "\"label\":\"GET /stuck\"", "\"age_ms\":1250", "\"threshold_ms\":1000",
          "\"state\":\"futex wait\"", "demo::wait_forever"}) {
      INFO(part);
      CHECK(line.find(part) != std::string::npos);
    }
    f.clock.advance(1s);
  }
  f.step();
  f.step();
  REQUIRE(f.sink.lines().size() == 2);
  CHECK(f.sink.lines()[1].find("handler recovered") != std::string::npos);
  CHECK(f.sink.lines()[1].find("\"age_ms\":2250") != std::string::npos);
}

TEST_CASE("a recovered task keeps its report, with its total age") {
  Fixture f;
  std::optional<Task> task(std::in_place, f.registry, f.registry.intern("x"));
  f.clock.advance(2s);
  f.step();
  task.reset();
  f.clock.advance(1s);
  f.step();
  const auto reports = f.watchdog->reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].state == EpisodeState::kRecovered);
  CHECK(reports[0].total_age == 3s);
  CHECK(f.watchdog->counters().recovered == 1);
  CHECK(f.watchdog->counters().stuck_now == 0);
}

TEST_CASE(
    "a task beyond its own timeout is flagged at once, however young, and not a unit before") {
  Fixture f({.threshold = 1h});
  const MonotonicTime now = f.clock.now();
  Task task(f.registry, f.registry.intern("GET /slow"),
            TaskStart{.now = now, .gives_up_at = now + 1s});
  Task without(f.registry, f.registry.intern("GET /other"));
  f.clock.advance(1s + WatchdogOptions::kLeakGrace - 1ns);
  f.step();
  CHECK(f.watchdog->reports().empty());
  f.clock.advance(1ns);
  f.step();
  f.step();
  const auto reports = f.watchdog->reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].leaked);
  CHECK(reports[0].task.label == "GET /slow");
  CHECK(reports[0].task.timeout() == 1s);
  CHECK(f.watchdog->counters().leaked == 1);
  REQUIRE(f.sink.lines().size() == 1);
  CHECK(f.sink.lines()[0].find("\"msg\":\"handler leaked past its timeout\"") != std::string::npos);
  CHECK(f.sink.lines()[0].find("\"timeout_ms\":1000") != std::string::npos);
}

TEST_CASE("a task that was stuck before it leaked keeps one report, which then says both") {
  Fixture f;
  std::optional<Task> task;
  const MonotonicTime now = f.clock.now();
  task.emplace(f.registry, f.registry.intern("x"), TaskStart{.now = now, .gives_up_at = now + 5s});
  f.clock.advance(2s);
  f.step();
  CHECK_FALSE(f.watchdog->reports().at(0).leaked);
  f.clock.advance(4s);
  f.step();
  f.step();
  REQUIRE(f.watchdog->reports().size() == 1);
  CHECK(f.watchdog->reports()[0].leaked);
  CHECK(f.watchdog->reports()[0].number == 1);
  task.reset();
  f.step();
  CHECK(f.watchdog->reports()[0].state == EpisodeState::kRecovered);
  CHECK(f.watchdog->counters().flagged == 1);
  CHECK(f.watchdog->counters().leaked == 1);
  CHECK(f.sink.lines().size() == 3);  // stuck, leaked, recovered
}

TEST_CASE("a task that ends within its timeout never leaks") {
  Fixture f({.threshold = 1h});
  {
    const MonotonicTime now = f.clock.now();
    Task task(f.registry, f.registry.intern("x"), TaskStart{.now = now, .gives_up_at = now + 5s});
    f.clock.advance(5s);
    f.step();
  }
  f.clock.advance(1h);
  f.step();
  CHECK(f.watchdog->reports().empty());
}

TEST_CASE("a task that ended in time is never flagged") {
  Fixture f;
  { Task task(f.registry, f.registry.intern("x")); }
  f.clock.advance(1h);
  f.step();
  CHECK(f.watchdog->reports().empty());
  CHECK(f.stacks.captured == 0);
}

TEST_CASE("a task that ends while its stack is taken is not flagged") {
  Fixture f;
  std::optional<Task> task(std::in_place, f.registry, f.registry.intern("x"));
  f.clock.advance(2s);
  f.stacks.during_capture = [&] { task.reset(); };
  f.step();
  CHECK(f.stacks.captured == 1);
  CHECK(f.watchdog->reports().empty());
  CHECK(f.sink.lines().empty());
}

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

TEST_CASE("each activation is an episode of its own") {
  Fixture f;
  for (int i = 0; i < 2; ++i) {
    Task task(f.registry, f.registry.intern("x"));
    f.clock.advance(2s);
    f.step();
  }
  CHECK(f.watchdog->counters().flagged == 2);
}

TEST_CASE(
    "reports are bounded: recovered ones go first, what is dropped is counted, nothing is flagged "
    "twice") {
  Fixture f({.threshold = 1s, .reports_max = 2});
  std::optional<Task> first(std::in_place, f.registry, f.registry.intern("first"));
  f.clock.advance(1s);
  f.step();
  {
    Task second(f.registry, f.registry.intern("second"));
    f.clock.advance(1s);
    f.step();
  }
  f.step();  // second has recovered
  Task third(f.registry, f.registry.intern("third"));
  f.clock.advance(1s);
  f.step();
  auto reports = f.watchdog->reports();
  REQUIRE(reports.size() == 2);
  CHECK(reports[0].task.label == "third");
  CHECK(reports[1].task.label == "first");
  CHECK(f.watchdog->counters().reports_dropped == 1);

  Task fourth(f.registry, f.registry.intern("fourth"));
  f.clock.advance(1s);
  f.step();
  f.step();
  CHECK(f.watchdog->counters().flagged == 4);
  CHECK(f.watchdog->counters().reports_dropped == 2);
}

TEST_CASE("a threshold that the passes cannot hold is refused with a sentence, zero is off") {
  FakeClock clock;
  TaskRegistry registry(clock);
  FakeStacks stacks;
  RecordingSink sink;
  const auto create = [&](Duration threshold) {
    return Watchdog::create({.threshold = threshold}, registry, stacks, sink, clock);
  };
  CHECK(create(10ms).ok());
  CHECK(create(0ms).ok());
  const auto refused = create(10ms - 1ns);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == ErrorCode::kInvalidArgument);
  CHECK(refused.error().message().find("threshold") != std::string::npos);
}

TEST_CASE("the interval is an eighth of the threshold within its limits") {
  CHECK(Fixture({.threshold = 1s}).watchdog->interval() == 125ms);
  CHECK(Fixture({.threshold = 10ms}).watchdog->interval() == 5ms);
  CHECK(Fixture({.threshold = 1h}).watchdog->interval() == 1s);
}

TEST_CASE("the thread makes passes by the clock and stops promptly") {
  Fixture f;
  Task task(f.registry, f.registry.intern("x"));
  f.watchdog->start();
  f.watchdog->start();
  while (f.clock.waiters() == 0) std::this_thread::yield();
  f.clock.advance(1s);
  while (f.watchdog->counters().flagged == 0) std::this_thread::yield();
  f.watchdog->stop();
  f.watchdog->stop();
  const auto passes = f.watchdog->counters().passes;
  f.clock.advance(10s);
  CHECK(f.watchdog->counters().passes == passes);
}

}  // namespace
}  // namespace vigil::leakwatch
