// The leak check of one test: each kind of leak and its twin, whose it is, what is ignored, waiting.

#include "leakwatch/leakcheck/leak_check.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "base/fake_clock.h"
#include "leakwatch/leakcheck/creation_stacks.h"
#include "tests/leakwatch/leakcheck/leaky.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;
using test::End;
using test::LeakKind;

bool has_function(std::span<const sampler::TextFrame> frames, const std::string& name) {
  return std::any_of(frames.begin(), frames.end(),
                     [&](const sampler::TextFrame& frame) { return frame.function == name; });
}

LeakCheckOptions options_of_tests() {
  creation_stacks_note_tasks();
  return {.registries = {&test::leaky_tasks()}};
}

// The report of a check around `begin`; what was begun is ended afterwards.
LeakReport report_of(const std::function<End()>& begin, LeakCheckOptions options) {
  SystemClock clock;
  LeakCheck check(std::move(options), clock);
  const End end = begin();
  LeakReport report = check.finish();
  end();
  return report;
}

TEST_CASE("each kind of leak is found, with its creator and where it is now") {
  for (const LeakKind& kind : test::leak_kinds()) {
    const LeakReport report = report_of(kind.begin, options_of_tests());
    const std::string text = format_leaks(report);
    INFO(kind.name << ": " << text);
    REQUIRE(report.leaks.size() == 1);
    const Leak& leak = report.leaks[0];
    CHECK(resource_kind_name(leak.resource.kind) == kind.kind);
    CHECK(has_function(leak.created, kind.creator));
    CHECK(kind.now.empty() == leak.now.frames.empty());
    if (!kind.now.empty()) CHECK(has_function(leak.now.frames, kind.now));
    CHECK(report.tries == 20);
    CHECK(report.notes.empty());
    CHECK(text.find(kind.creator) != std::string::npos);
    CHECK(text.find("leaked: " + kind.kind + " ") != std::string::npos);
  }
}

TEST_CASE("its twin that ends what it began is clean, at the first look") {
  for (const LeakKind& kind : test::leak_kinds()) {
    SystemClock clock;
    LeakCheck check(options_of_tests(), clock);
    kind.begin()();
    const LeakReport report = check.finish();
    INFO(kind.name << ": " << format_leaks(report));
    CHECK(report.clean());
    CHECK(format_leaks(report).empty());
  }
}

TEST_CASE("what was there before is no leak, and what was closed and opened again is one") {
  const End before = test::leaky_begin_file();
  const auto nothing = [] { return End([] {}); };
  CHECK(report_of(nothing, {}).clean());
  SystemClock clock;
  LeakCheck check({}, clock);
  before();
  const End again = test::leaky_begin_file();  // the same number, the same file
  const LeakReport report = check.finish();
  again();
  CHECK(report.leaks.size() == 1);
}

TEST_CASE("ignore_current takes what is there out of the check, not what comes later") {
  SystemClock clock;
  LeakCheck check({}, clock);
  const End first = test::leaky_begin_file();
  LeakCheck::current()->ignore_current();
  const End second = test::leaky_begin_thread();
  const LeakReport report = check.finish();
  first();
  second();
  REQUIRE(report.leaks.size() == 1);
  CHECK(report.leaks[0].resource.kind == ResourceKind::kThread);
  CHECK(LeakCheck::current() == nullptr);
}

TEST_CASE("rules ignore by top function, any function, creator and thread name") {
  const auto found_with = [](IgnoreRules rules) {
    return report_of(test::leaky_begin_thread, {.ignore = std::move(rules), .tries = 12})
        .leaks.size();
  };
  const auto top = report_of(test::leaky_begin_thread, {.tries = 1}).leaks.at(0).now;
  CHECK(found_with({.top_function = {top.frames[0].function}}) == 0);
  CHECK(found_with({.top_function = {"vigil::test::leaky_thread_waits"}}) == 1);  // not the top
  CHECK(found_with({.any_function = {"vigil::test::leaky_thread_waits"}}) == 0);
  CHECK(found_with({.any_function = {"vigil::test::leaky_thread_"}}) == 1);  // not the whole name
  CHECK(found_with({.any_function = {"vigil::test::leaky_thread_*"}}) == 0);
  CHECK(found_with({.creator = {"vigil::test::leaky_begin_thread"}}) == 0);
  CHECK(found_with({.creator = {"vigil::test::leaky_thread_waits"}}) == 1);
  CHECK(found_with({.thread_name = {top.thread_name}}) == 0);
  CHECK(found_with({.thread_name = {top.thread_name + "x"}}) == 1);
}

// Ends what a leak is after `looks` looks at the time.
class EndingClock final : public Clock {
 public:
  EndingClock(int looks, End end) : looks_left_(looks), end_(std::move(end)) {}
  // Stands still between pauses, but not for whoever waits for a deadline: a capture of a thread
  // that falls asleep as it is asked.
  MonotonicTime now() const override {
    if (++reads_ > kReadsStill) clock_.advance(1ms);
    return clock_.now();
  }
  WallTime wall_now() const override { return clock_.wall_now(); }
  void wait_until(std::unique_lock<std::mutex>&, std::condition_variable&,
                  MonotonicTime deadline) override {
    reads_ = 0;
    pauses.push_back(deadline - clock_.now());
    clock_.advance(deadline - clock_.now());
    if (--looks_left_ == 0) end_();
  }
  std::vector<Duration> pauses;

 private:
  static constexpr int kReadsStill = 50;
  mutable FakeClock clock_;
  mutable int reads_ = 0;
  int looks_left_;
  End end_;
};

TEST_CASE("it waits with growing pauses and is clean as soon as the leak has ended") {
  for (const int pauses_before : {1, 9, 10, 19}) {
    End end;
    EndingClock clock(pauses_before, [&end] { end(); });
    LeakCheck check({}, clock);
    end = test::leaky_begin_thread();
    const LeakReport report = check.finish();
    CHECK(report.clean());
    CHECK(report.tries == pauses_before + 1);
  }
  End end = test::leaky_begin_file();
  EndingClock clock(20, [&end] { end(); });  // one too late
  {
    LeakCheck check({}, clock);
    const End leak = test::leaky_begin_file();
    CHECK(check.finish().leaks.size() == 1);
    leak();
  }
  end();
  REQUIRE(clock.pauses.size() == 19);
  CHECK(clock.pauses.front() == 1us);
  CHECK(clock.pauses[1] == 2us);
  CHECK(clock.pauses[16] == 65'536us);
  CHECK(clock.pauses.back() == 100ms);
}

// What one of several tests that run at once leaves.
struct ParallelTest {
  LeakReport report;
  End end;
};

TEST_CASE("of tests that run at once, each is charged with its own leaks only") {
  constexpr int kTests = 4;
  std::vector<ParallelTest> tests(kTests);
  std::barrier all(kTests);
  std::vector<std::thread> threads;
  for (int i = 0; i < kTests; ++i) {
    threads.emplace_back([&, i] {
      SystemClock clock;
      all.arrive_and_wait();
      LeakCheck check({}, clock);
      all.arrive_and_wait();
      // A thread that starts a thread that opens a file; the even tests close it.
      std::async(std::launch::async, [&] {
        std::async(std::launch::async, [&] { tests[i].end = test::leaky_begin_file(); }).get();
      }).get();
      if (i % 2 == 0) tests[i].end();
      all.arrive_and_wait();
      tests[i].report = check.finish();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kTests; ++i) {
    INFO("test " << i << ": " << format_leaks(tests[i].report));
    CHECK(tests[i].report.leaks.size() == (i % 2 == 0 ? 0 : 1));
    CHECK(tests[i].report.unattributed.empty());
    if (i % 2 != 0) tests[i].end();
  }
}

TEST_CASE("what a pool's thread leaks belongs to the test whose task it works for") {
  TaskRegistry& tasks = test::leaky_tasks();
  const TaskLabel label = tasks.intern("parallel");
  // The pool's thread was there before both tests.
  std::promise<TaskId> work;
  std::promise<void> worked;
  std::promise<End> opened;
  std::thread pool([&] {
    const TaskId parent = work.get_future().get();
    const Task task(tasks, label, {.now = tasks.clock().now(), .parent = parent});
    opened.set_value(test::leaky_begin_file());
    worked.set_value();
  });
  SystemClock clock;
  LeakCheck other({}, clock);
  std::promise<LeakReport> reported;
  std::thread test_thread([&] {
    LeakCheck check({}, clock);
    const Task task(tasks, label);
    work.set_value(task.id());
    worked.get_future().wait();
    reported.set_value(check.finish());
  });
  test_thread.join();
  pool.join();
  const LeakReport of_other = other.finish();
  opened.get_future().get()();
  CHECK(reported.get_future().get().leaks.size() == 1);
  CHECK(of_other.clean());
  CHECK(of_other.unattributed.empty());
}

TEST_CASE("what nobody can be charged with fails a test that was alone, and else is only listed") {
  // Begun outside of every scope.
  const auto elsewhere = [](const std::function<void()>& run) {
    const ScopeGuard nobodys(ScopeId::kNone);
    run();
  };
  SystemClock clock;
  End end;
  {
    LeakCheck alone({}, clock);
    elsewhere([&] { end = test::leaky_begin_file(); });
    CHECK(alone.finish().leaks.size() == 1);
    end();
  }
  LeakCheck first({.tries = 2}, clock);
  LeakCheck second({.tries = 2}, clock);
  elsewhere([&] { end = test::leaky_begin_file(); });
  const LeakReport report = second.finish();
  CHECK(report.clean());
  CHECK(report.unattributed.size() == 1);
  CHECK(format_leaks(report).find("not known whose") != std::string::npos);
  CHECK(first.finish().clean());
  end();
}

}  // namespace
}  // namespace vigil::leakwatch
