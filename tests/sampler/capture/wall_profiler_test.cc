#include "sampler/wall_profiler.h"

#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <map>

#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

struct Wall : Sampling {
  WallProfiler profiler{clock, *collector};

  StackProfile take(WallProfileOptions options, Duration duration) {
    options.deadline = clock.now() + duration;
    const auto profile = profiler.profile(options, {});
    REQUIRE(profile);
    return *profile;
  }
};

std::string label_of(const StackSample& sample, std::string_view key) {
  for (const Label& label : sample.labels) {
    if (label.key == key) return label.text;
  }
  return "";
}

// Milliseconds by the value of a label, of samples with `function` in their stack.
std::map<std::string, double> milliseconds_by(const StackProfile& profile, std::string_view label,
                                              std::string_view function = "") {
  std::map<std::string, double> sums;
  for (const StackSample& sample : profile.samples) {
    const auto names = frame_names(sample.stack);
    const bool has =
        function.empty() || std::any_of(names.begin(), names.end(), [&](const std::string& name) {
          return name.find(function) != std::string::npos;
        });
    if (has) sums[label_of(sample, label)] += static_cast<double>(sample.values.at(1)) / 1e6;
  }
  return sums;
}

// How long the threads were watched: on a busy machine longer than was asked for.
double watched_ms(const StackProfile& profile) {
  return static_cast<double>(profile.duration.count()) / 1e6;
}

// A thread's body that works on a task while it runs `body`. A test that counts every look takes
// the threads in tasks: ThreadSanitizer has a thread of its own, which is none of the test's.
std::function<void()> in_task(std::string_view name, std::function<void()> body) {
  return [name, body = std::move(body)] {
    const OuterWork outer = enter_task({work_name(name), 1, {}});
    body();
    leave_task(outer);
  };
}

TEST_CASE_METHOD(Wall, "running, sleeping and waiting threads have their time by state") {
  std::atomic<bool> stop{false};
  std::atomic<int> gate{0};
  std::atomic<int> interrupted{0};
  TestThread spinning([&] { test_spin(stop); });
  TestThread waiting([&] { gate.wait(0); });
  TestThread sleeping([&] {
    while (!stop) {
      const timespec time{0, 100'000'000};
      if (nanosleep(&time, nullptr) != 0) ++interrupted;
    }
  });
  REQUIRE(waiting.await_blocked(SYS_futex));
  REQUIRE(sleeping.await_blocked(SYS_clock_nanosleep));
  const StackProfile profile = take({.hz = 100}, 1s);
  stop = true;
  gate = 1;
  gate.notify_all();
  CHECK(profile.name == "wall");
  REQUIRE(profile.sample_types.size() == 2);
  CHECK(profile.sample_types[0] == ValueType{"samples", "count"});
  CHECK(profile.sample_types[1] == ValueType{"time", "nanoseconds"});
  CHECK(profile.period_type == ValueType{"wallclock", "nanoseconds"});
  CHECK(profile.period == 10'000'000);
  auto by_state = milliseconds_by(profile, "state", "test_outer");
  // On a busy machine it may wait longer for a processor than a round waits for its answer.
  const auto unanswered = static_cast<double>(profile.counters.at("threads_unanswered"));
  CHECK(unanswered <= 10);
  CHECK(by_state["running"] == Approx(watched_ms(profile)).margin(100 + 60 * unanswered));
  CHECK(by_state["futex wait"] == Approx(watched_ms(profile)).margin(100));
  CHECK(by_state["sleep"] == Approx(watched_ms(profile)).margin(100));
  CHECK(profile.counters.at("looks_reused") > profile.counters.at("looks") / 4);
  CHECK(profile.counters.at("collector_cpu_ns") > 0);
  CHECK(interrupted == 0);
  // The one that runs was asked by signal, the others never.
  CHECK(channel->counters().captures <= 101);
}

TEST_CASE_METHOD(Wall, "a stack that counts again is the one of before") {
  std::atomic<int> gate{0};
  TestThread waiting(in_task("waiting", [&] { gate.wait(0); }));
  REQUIRE(waiting.await_blocked(SYS_futex));
  const StackProfile profile = take({.hz = 100, .of = WallThreads::kWithTasks}, 300ms);
  gate = 1;
  gate.notify_all();
  CHECK(profile.samples.size() == 1);
  CHECK(has_test_functions(profile.samples.at(0).stack));
  CHECK(profile.counters.at("looks_reused") == profile.counters.at("looks") - 1);
  CHECK(channel->counters().captures == 0);
}

TEST_CASE_METHOD(Wall, "of tasks takes the threads that are in one, and filters by route") {
  std::atomic<int> gate{0};
  const auto wait = [&] { gate.wait(0); };
  TestThread a(in_task("GET /a", wait));
  TestThread b(in_task("GET /b", wait));
  TestThread idle(wait);
  for (const TestThread* thread : {&a, &b, &idle}) REQUIRE(thread->await_blocked(SYS_futex));
  const StackProfile in_tasks = take({.hz = 100, .of = WallThreads::kWithTasks}, 200ms);
  auto tasks = milliseconds_by(in_tasks, "route");
  CHECK(tasks.size() == 2);
  CHECK(tasks["/a"] == Approx(watched_ms(in_tasks)).margin(25));
  CHECK(tasks["/b"] == Approx(watched_ms(in_tasks)).margin(25));
  auto all = milliseconds_by(take({.hz = 100}, 200ms), "route");
  CHECK(all.size() == 3);
  const StackProfile one = take({.hz = 100, .samples = {.routes = {"/b"}}}, 200ms);
  CHECK(milliseconds_by(one, "route").size() == 1);
  CHECK(one.counters.at("samples_filtered") > 0);
  gate = 1;
  gate.notify_all();
}

TEST_CASE_METHOD(Wall,
                 "a thread that masks the signal is counted, and does not hold the rounds up") {
  std::atomic<bool> stop{false};
  std::atomic<bool> masked{false};
  TestThread deaf(in_task("deaf", [&] {
    block_signals(masked);
    test_spin(stop);
  }));
  masked.wait(false);
  const auto begin = clock.now();
  const StackProfile profile = take({.hz = 100, .of = WallThreads::kWithTasks}, 500ms);
  const Duration took = clock.now() - begin;
  stop = true;
  CHECK(took < 2s);
  CHECK(profile.counters.at("threads_unanswered") > 10);
  double total = 0;
  for (const auto& [state, ms] : milliseconds_by(profile, "state")) total += ms;
  CHECK(total == Approx(watched_ms(profile)).margin(40));
}

TEST_CASE_METHOD(Wall, "more threads than the budget has looks for: fewer rounds, the same time") {
  constexpr int kThreads = 40;
  std::atomic<int> gate{0};
  std::vector<std::unique_ptr<TestThread>> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.push_back(std::make_unique<TestThread>([&] { gate.wait(0); }));
  }
  for (const auto& thread : threads) REQUIRE(thread->await_blocked(SYS_futex));
  const StackProfile profile = take({.hz = 1000}, 500ms);
  gate = 1;
  gate.notify_all();
  threads.clear();
  CHECK(profile.counters.at("looks") <= kWallLooksPerSecondMax / 2 + 2 * kThreads);
  CHECK(profile.counters.at("rounds_skipped") > 300);
  auto by_state = milliseconds_by(profile, "state", "test_outer");
  CHECK(by_state["futex wait"] == Approx(watched_ms(profile) * kThreads).epsilon(0.1));
}

TEST_CASE_METHOD(Wall, "it ends at once when stopped, and refuses rates out of range") {
  std::stop_source stop;
  stop.request_stop();
  const auto begin = clock.now();
  REQUIRE(profiler.profile({.deadline = begin + 100s}, stop.get_token()));
  CHECK(clock.now() - begin < 5s);
  for (const int hz : {0, -1, 1001}) {
    const auto profile = profiler.profile({.hz = hz, .deadline = clock.now()}, {});
    REQUIRE_FALSE(profile);
    CHECK(profile.error().code() == ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace vigil::sampler
