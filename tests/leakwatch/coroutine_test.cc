#include "leakwatch/coroutine.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>

#include "base/clock.h"
#include "base/thread_id.h"
#include "leakwatch/watchdog.h"
#include "tests/leakwatch/hand_executor.h"
#include "tests/support/catch.h"
#include "tests/support/recording_sink.h"

namespace vigil::leakwatch {

// Outside the unnamed namespace: their names are what is tested.
namespace shop {

Coroutine<int> price_of(HandExecutor& executor, int item) {
  co_await executor.turn();
  co_return item * 100;
}
constexpr int kPriceLine = __LINE__ - 3;

Coroutine<std::unique_ptr<int>> total(HandExecutor& executor) {
  int sum = 0;
  for (int item = 1; item <= 2; ++item) sum += co_await price_of(executor, item);
  co_return std::make_unique<int>(sum);
}
constexpr int kTotalLine = __LINE__ - 3;

Coroutine<> checkout(HandExecutor& executor, int& paid) {
  const auto sum = co_await total(executor);
  co_await executor.turn();
  paid = *sum;
}
constexpr int kCheckoutLine = __LINE__ - 4;

Coroutine<> fails_after_a_turn(HandExecutor& executor) {
  co_await executor.turn();
  throw std::runtime_error("sold out");
}

Coroutine<std::string> catches(HandExecutor& executor) {
  std::string caught = "nothing";
  try {
    co_await fails_after_a_turn(executor);
  } catch (const std::runtime_error& error) {
    caught = error.what();
  }
  co_return caught;
}

}  // namespace shop

namespace {

struct Ended {
  int times = 0;
  std::exception_ptr error;
  auto callback() {
    return [this](std::exception_ptr with) {
      ++times;
      error = with;
    };
  }
};

struct Fixture {
  SystemClock clock;
  TaskRegistry registry{clock};
  TaskLabel label = registry.intern("checkout");
  HandExecutor executor;
  Ended ended;

  LiveStack stack() const { return await_stack(registry, registry.snapshot().at(0)); }
};

std::string place_of(const sampler::TextFrame& frame) {
  const std::string file = frame.file.substr(frame.file.rfind('/') + 1);
  return frame.function + " " + file + ":" + std::to_string(frame.line);
}

std::string place(std::string_view function, int line) {
  return "vigil::leakwatch::shop::" + std::string(function) +
         " coroutine_test.cc:" + std::to_string(line);
}

TEST_CASE("a coroutine that waits shows the chain of functions that await one another") {
  Fixture f;
  int paid = 0;
  spawn(f.registry, f.label, shop::checkout(f.executor, paid), f.ended.callback());
  CHECK(Task::current() == TaskId::kNone);
  const LiveStack first = f.stack();
  REQUIRE(first.frames.size() == 3);
  CHECK(place_of(first.frames[0]) == place("price_of", shop::kPriceLine));
  CHECK(place_of(first.frames[1]) == place("total", shop::kTotalLine));
  CHECK(place_of(first.frames[2]) == place("checkout", shop::kCheckoutLine));

  REQUIRE(f.executor.run_one());
  CHECK(f.stack().frames.size() == 3);
  REQUIRE(f.executor.run_one());
  const LiveStack last = f.stack();
  REQUIRE(last.frames.size() == 1);
  CHECK(place_of(last.frames[0]) == place("checkout", shop::kCheckoutLine + 1));
  CHECK(f.ended.times == 0);
  REQUIRE(f.executor.run_one());
  CHECK(f.ended.times == 1);
  CHECK(f.ended.error == nullptr);
  CHECK(paid == 300);
  CHECK(f.registry.snapshot().empty());
  CHECK_FALSE(f.executor.run_one());
}

TEST_CASE("a coroutine is on the thread that resumes it, with its task and scope") {
  Fixture f;
  TaskId inside = TaskId::kNone;
  pid_t on_thread = 0;
  ScopeId scope_inside = ScopeId::kNone;
  const auto look = [&]() -> Coroutine<> {
    co_await f.executor.turn();
    inside = Task::current();
    on_thread = f.registry.snapshot().at(0).thread;
    scope_inside = current_scope();
  };
  const ScopeGuard scope(new_scope());
  spawn(f.registry, f.label, look(), f.ended.callback());
  const TaskId id = f.registry.snapshot().at(0).id;
  pid_t other = 0;
  TaskId after = id;
  std::thread([&] {
    other = current_thread_id();
    f.executor.run_one();
    after = Task::current();
  }).join();
  CHECK(f.ended.times == 1);
  CHECK(inside == id);
  CHECK(on_thread == other);
  CHECK(scope_inside == current_scope());
  CHECK(after == TaskId::kNone);
}

TEST_CASE("exceptions pass to who awaits, and from the outermost to the callback") {
  Fixture f;
  std::string caught;
  const auto outer = [&]() -> Coroutine<> { caught = co_await shop::catches(f.executor); };
  spawn(f.registry, f.label, outer(), f.ended.callback());
  f.executor.run_one();
  CHECK(caught == "sold out");
  CHECK(f.ended.error == nullptr);

  spawn(f.registry, f.label, shop::fails_after_a_turn(f.executor), f.ended.callback());
  f.executor.run_one();
  REQUIRE(f.ended.error != nullptr);
  CHECK_THROWS_WITH(std::rethrow_exception(f.ended.error), "sold out");
  CHECK(f.registry.snapshot().empty());
  CHECK(Task::current() == TaskId::kNone);
}

// The forms of an awaiter: ready at once, declines to suspend, throws as it suspends, hands over to
// another coroutine, is made by operator co_await.
struct Ready {
  bool await_ready() const { return true; }
  void await_suspend(std::coroutine_handle<>) const {}
  int await_resume() const { return 1; }
};
struct Declines {
  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<>) const { return false; }
  int await_resume() const { return 2; }
};
struct Throws {
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<>) const { throw std::runtime_error("no room"); }
  void await_resume() const {}
};
struct HandsOver {
  bool await_ready() const { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) const { return self; }
  int await_resume() const { return 4; }
};
struct Convertible {
  Ready operator co_await() const { return {}; }
};

TEST_CASE("whatever an awaitable does, the task is on its thread when the coroutine runs") {
  Fixture f;
  int sum = 0;
  int on_thread = 0;
  const auto look = [&] {
    on_thread += f.registry.snapshot().at(0).thread == current_thread_id() ? 1 : 0;
  };
  const auto tries = [&]() -> Coroutine<> {
    sum += co_await Ready{};
    look();
    sum += co_await Declines{};
    look();
    try {
      co_await Throws{};
    } catch (const std::runtime_error&) {
      sum += 100;
      look();
    }
    const HandsOver kept;
    sum += co_await kept;
    look();
    sum += co_await Convertible{};
    look();
  };
  spawn(f.registry, f.label, tries(), f.ended.callback());
  CHECK(f.ended.times == 1);
  CHECK(sum == 108);
  CHECK(on_thread == 5);
  CHECK(Task::current() == TaskId::kNone);
}

TEST_CASE("a coroutine that nobody awaits never runs and is freed") {
  const auto held = std::make_shared<int>(1);
  bool ran = false;
  {
    const auto never = [&](std::shared_ptr<int>) -> Coroutine<> {
      ran = true;
      co_return;
    };
    const Coroutine<> lazy = never(held);
    CHECK(held.use_count() == 2);
  }
  CHECK_FALSE(ran);
  CHECK(held.use_count() == 1);
}

// The watchdog needs no stacks of threads for them.
class NoThreads final : public StackSource {
 public:
  std::vector<LiveStack> capture(std::span<const pid_t> threads, MonotonicTime) override {
    asked_for += threads.size();
    return std::vector<LiveStack>(threads.size());
  }
  std::vector<LiveStack> capture_all(MonotonicTime) override { return {}; }
  std::vector<WaitEdge> lock_waits(std::span<const pid_t>) override { return {}; }
  std::size_t asked_for = 0;
};

TEST_CASE("coroutines that wait too long are stuck, one report for all at the same place") {
  Fixture f;
  NoThreads stacks;
  RecordingSink sink;
  auto watchdog =
      *Watchdog::create({.threshold = std::chrono::seconds(1)}, f.registry, stacks, sink, f.clock);
  int paid = 0;
  for (int i = 0; i < 3; ++i) {
    spawn(f.registry, f.label, shop::checkout(f.executor, paid), f.ended.callback());
  }
  watchdog->step(f.clock.now() + std::chrono::seconds(2));
  const auto reports = watchdog->reports();
  while (f.executor.run_one()) {
  }
  watchdog->step(f.clock.now() + std::chrono::seconds(3));
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].tasks == 3);
  CHECK(reports[0].stack.state == "await");
  REQUIRE(reports[0].stack.frames.size() == 3);
  CHECK(place_of(reports[0].stack.frames[0]) == place("price_of", shop::kPriceLine));
  CHECK(stacks.asked_for == 0);
  CHECK(watchdog->counters().recovered == 3);
  REQUIRE(sink.lines().size() == 2);
  CHECK(sink.lines()[0].find("shop::price_of(...)") != std::string::npos);
  CHECK(sink.lines()[1].find("handler recovered") != std::string::npos);
}

Coroutine<> spins(HandExecutor& executor, std::atomic<bool>& stop) {
  while (!stop) co_await executor.turn();
}

TEST_CASE("readers of tasks that move between threads see a place or none, never a torn one") {
  Fixture f;
  std::atomic<bool> stop{false};
  constexpr int kTasks = 8;
  std::atomic<int> over{0};
  for (int i = 0; i < kTasks; ++i) {
    spawn(f.registry, f.label, spins(f.executor, stop), [&](std::exception_ptr) { ++over; });
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (over < kTasks) {
        if (!f.executor.run_one()) std::this_thread::yield();
      }
    });
  }
  std::size_t placed = 0;
  std::size_t wrong = 0;
  for (int looks = 0; looks < 2'000 || placed == 0; ++looks) {
    for (const TaskInfo& task : f.registry.snapshot()) {
      const LiveStack stack = await_stack(f.registry, task);
      if (!stack.failure.empty()) continue;
      ++placed;
      if (stack.frames.size() != 1 || !stack.frames[0].function.ends_with("spins")) ++wrong;
    }
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(placed > 0);
  CHECK(wrong == 0);
  CHECK(f.registry.snapshot().empty());
}

}  // namespace
}  // namespace vigil::leakwatch
