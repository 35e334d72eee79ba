#include "leakwatch/async_task.h"

#include <optional>

#include "base/fake_clock.h"
#include "base/thread_id.h"
#include "sampler/thread_work.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  FakeClock clock;
  TaskRegistry registry{clock};
  TaskLabel label = registry.intern("checkout");
  TaskStart start{.now = clock.now()};

  TaskInfo only() const { return registry.snapshot().at(0); }
};

TEST_CASE("an async task is in the registry on no thread, on one, and on none again") {
  Fixture f;
  {
    AsyncTask task(f.registry, f.label, f.start);
    CHECK(f.only().id == task.id());
    CHECK(f.only().waiting());
    task.enter();
    CHECK(f.only().thread == current_thread_id());
    CHECK(Task::current() == task.id());
    CHECK(sampler::work_of_thread(current_thread_id()).task ==
          static_cast<std::uint64_t>(task.id()));
    task.leave();
    CHECK(f.only().waiting());
    CHECK(Task::current() == TaskId::kNone);
    CHECK(sampler::work_of_thread(current_thread_id()).name == nullptr);
  }
  CHECK(f.registry.snapshot().empty());
}

TEST_CASE("an async task moves between threads, and gives each back what it was at") {
  Fixture f;
  const ScopeGuard scope(new_scope());
  AsyncTask task(f.registry, f.label, f.start);
  pid_t other = 0;
  pid_t seen = 0;
  ScopeId inside = ScopeId::kNone;
  ScopeId after = ScopeId::kNone;
  std::thread([&] {
    other = current_thread_id();
    task.enter();
    seen = f.only().thread;
    inside = current_scope();
    task.leave();
    after = current_scope();
  }).join();
  CHECK(seen == other);
  CHECK(inside == current_scope());
  CHECK(after == ScopeId::kNone);
  const Task handler(f.registry, f.registry.intern("GET /cart"));
  task.enter();
  CHECK(Task::current() == task.id());
  task.leave();
  CHECK(Task::current() == handler.id());
}

TEST_CASE("where an async task waits is shown as a stack, innermost first") {
  Fixture f;
  const AwaitFrame outer{
      .function = "shop::Task<int> shop::checkout(Cart)", .file = "/src/checkout.cc", .line = 41};
  const AwaitFrame inner{.caller = &outer,
                         .function = "Co<T> shop::price_of(T) [with T = int]",
                         .file = "/src/prices.cc",
                         .line = 17};
  AsyncTask task(f.registry, f.label, f.start);
  CHECK(await_stack(f.registry, f.only()).failure ==
        "the task waits on no thread, and has not said where");
  task.enter();
  task.leave(&inner);
  const LiveStack stack = await_stack(f.registry, f.only());
  CHECK(stack.state == "await");
  CHECK(stack.failure.empty());
  CHECK(format_stack(stack) ==
        "shop::price_of(...)\n\t/src/prices.cc:17 +0x0\n"
        "shop::checkout(...)\n\t/src/checkout.cc:41 +0x0\n");
}

TEST_CASE("what an async task has left since is not believed") {
  Fixture f;
  const AwaitFrame place{.function = "f()", .file = "f.cc", .line = 1};
  std::optional<AsyncTask> task(std::in_place, f.registry, f.label, f.start);
  task->enter();
  task->leave(&place);
  const TaskInfo before = f.only();
  task->enter();
  CHECK(await_stack(f.registry, before).frames.empty());
  task->leave(&place);  // the same place, but another time
  CHECK(await_stack(f.registry, before).failure == "the task has gone on while it was looked at");
  CHECK(await_stack(f.registry, f.only()).frames.size() == 1);
  const TaskInfo last = f.only();
  task.reset();
  CHECK(await_stack(f.registry, last).frames.empty());
}

TEST_CASE("a chain that leads nowhere, or in a circle, ends") {
  Fixture f;
  AsyncTask task(f.registry, f.label, f.start);
  AwaitFrame circle{.function = "f()", .file = "f.cc", .line = 1};
  circle.caller = &circle;
  task.enter();
  task.leave(&circle);
  CHECK(await_stack(f.registry, f.only()).frames.size() == kAwaitFramesMax);
  CHECK(await_stack(f.registry, f.only()).end == sampler::StackEnd::kTruncated);
  const AwaitFrame broken{.caller = reinterpret_cast<const AwaitFrame*>(8),
                          .function = reinterpret_cast<const char*>(16),
                          .file = "f.cc",
                          .line = 1};
  task.enter();
  task.leave(&broken);
  const LiveStack stack = await_stack(f.registry, f.only());
  REQUIRE(stack.frames.size() == 1);
  CHECK(stack.frames[0].function.empty());
  CHECK(stack.end == sampler::StackEnd::kTruncated);
}

TEST_CASE("with a full registry an async task runs untracked") {
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 16});
  std::vector<std::unique_ptr<AsyncTask>> tasks;
  for (int i = 0; i < 17; ++i) {
    tasks.push_back(
        std::make_unique<AsyncTask>(registry, registry.intern("x"), TaskStart{.now = clock.now()}));
  }
  CHECK(tasks.back()->id() == TaskId::kNone);
  tasks.back()->enter();
  CHECK(Task::current() == TaskId::kNone);
  tasks.back()->leave();
  CHECK(registry.counters().untracked == 1);
}

}  // namespace
}  // namespace vigil::leakwatch
