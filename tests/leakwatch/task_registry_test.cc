#include "leakwatch/task_registry.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <latch>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "base/fake_clock.h"
#include "base/thread_id.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a task is in the registry from its construction to its destruction") {
  FakeClock clock;
  TaskRegistry registry(clock);
  const TaskLabel label = registry.intern("GET /orders/{id}");
  CHECK(registry.snapshot().empty());
  {
    Task task(registry, label);
    clock.advance(3s);
    const auto tasks = registry.snapshot();
    REQUIRE(tasks.size() == 1);
    CHECK(tasks[0].id == task.id());
    CHECK(tasks[0].label == "GET /orders/{id}");
    CHECK(tasks[0].thread == current_thread_id());
    CHECK(tasks[0].age(clock.now()) == 3s);
    CHECK(registry.is_live(task.id()));
  }
  CHECK(registry.snapshot().empty());
  CHECK(registry.counters().started == 1);
  CHECK(registry.counters().live == 0);
}

TEST_CASE("a task carries its timeout and a parent of another thread, and the next one does not") {
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 1});
  const MonotonicTime now = clock.now();
  {
    Task task(registry, registry.intern("x"),
              TaskStart{.now = now, .parent = TaskId{77}, .gives_up_at = now + 2s});
    const TaskInfo info = *registry.find(task.id());
    CHECK(info.parent == TaskId{77});
    CHECK(info.has_timeout());
    CHECK(info.timeout() == 2s);
  }
  Task task(registry, registry.intern("x"));
  const TaskInfo info = *registry.find(task.id());
  CHECK(info.parent == TaskId::kNone);
  CHECK_FALSE(info.has_timeout());
}

TEST_CASE("an ended task's id never names a later task, even in the same slot") {
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 1});
  std::set<TaskId> ids;
  TaskId previous = TaskId::kNone;
  for (int i = 0; i < 100; ++i) {
    Task task(registry, registry.intern("x"));
    ids.insert(task.id());
    CHECK_FALSE(registry.is_live(previous));
    previous = task.id();
  }
  CHECK(ids.size() == 100);
  CHECK(ids.count(TaskId::kNone) == 0);
}

TEST_CASE("tasks of one thread nest, and each knows the one around it") {
  FakeClock clock;
  TaskRegistry registry(clock);
  CHECK(Task::current() == TaskId::kNone);
  Task outer(registry, registry.intern("outer"));
  {
    Task inner(registry, registry.intern("inner"));
    CHECK(Task::current() == inner.id());
    CHECK(registry.find(inner.id())->parent == outer.id());
  }
  CHECK(Task::current() == outer.id());
  CHECK(registry.find(outer.id())->parent == TaskId::kNone);
}

TEST_CASE("a task is what samples of its thread are labelled with") {
  FakeClock clock;
  constexpr std::size_t kTasksMax = 16;
  TaskRegistry registry(clock, {.tasks_max = kTasksMax});
  CHECK(sampler::own_work().name == nullptr);
  {
    const Task task(registry, registry.intern("GET /orders/{id}"));
    const sampler::ThreadWork work = sampler::own_work();
    REQUIRE(work.name != nullptr);
    CHECK(work.name->route == "/orders/{id}");
    CHECK(TaskId{work.task} == task.id());
    CHECK(work.started == clock.now());
    // When the table is full: no id, but a name.
    std::vector<std::unique_ptr<Task>> rest;
    while (rest.size() + 1 < kTasksMax) {
      rest.push_back(std::make_unique<Task>(registry, registry.intern("part")));
    }
    const TaskId innermost = rest.back()->id();
    {
      const Task untracked(registry, registry.intern("POST /orders"));
      CHECK(sampler::own_work().name->route == "/orders");
      CHECK(sampler::own_work().task == 0);
      CHECK(Task::current() == innermost);
    }
    while (!rest.empty()) rest.pop_back();
  }
  CHECK(sampler::own_work().name == nullptr);
}

TEST_CASE("the snapshot lists the oldest first") {
  FakeClock clock;
  TaskRegistry registry(clock);
  Task first(registry, registry.intern("first"));
  clock.advance(1ns);
  Task second(registry, registry.intern("second"));
  const auto tasks = registry.snapshot();
  REQUIRE(tasks.size() == 2);
  CHECK(tasks[0].label == "first");
  CHECK(tasks[1].label == "second");
}

TEST_CASE("all tasks are met once, however many each thread has") {
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 1024});
  const TaskLabel label = registry.intern("GET /");
  constexpr int kThreads = 24;  // more than there are lists of free slots
  std::latch begun(kThreads);
  std::latch looked_at(1);
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      std::deque<Task> tasks;
      for (int i = 0; i < number; ++i) tasks.emplace_back(registry, label);
      begun.count_down();
      looked_at.wait();
      while (!tasks.empty()) tasks.pop_back();
    });
  }
  begun.wait();
  std::set<TaskId> met;
  const auto tasks = registry.snapshot();
  for (const TaskInfo& task : tasks) met.insert(task.id);
  const TaskRegistry::Counters counters = registry.counters();
  looked_at.count_down();
  for (std::thread& thread : threads) thread.join();
  CHECK(tasks.size() == kThreads * (kThreads - 1) / 2);
  CHECK(met.size() == tasks.size());
  CHECK(counters.live == tasks.size());
  CHECK(counters.started == tasks.size());
}

TEST_CASE("a full table runs further tasks untracked, counts them, and recovers") {
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 16});
  const TaskLabel label = registry.intern("x");
  std::vector<std::unique_ptr<Task>> tasks;
  for (int i = 0; i < 16; ++i) tasks.push_back(std::make_unique<Task>(registry, label));
  CHECK(registry.counters().untracked == 0);
  {
    Task one_too_many(registry, label);
    CHECK(one_too_many.id() == TaskId::kNone);
    CHECK(Task::current() == tasks.back()->id());
    CHECK(registry.counters().untracked == 1);
    CHECK(registry.counters().live == 16);
  }
  tasks.pop_back();
  {
    Task again(registry, label);
    CHECK(again.id() != TaskId::kNone);
  }
  while (!tasks.empty()) tasks.pop_back();  // they nest: the last one first
}

// Each on a thread of its own, which ends behind it.
void run_tasks_on_threads(TaskRegistry& registry, int threads) {
  for (int i = 0; i < threads; ++i) {
    std::thread([&] { const Task task(registry, registry.intern("x")); }).join();
  }
}

std::vector<std::unique_ptr<Task>> begin_tasks(TaskRegistry& registry, int count) {
  std::vector<std::unique_ptr<Task>> tasks;
  for (int i = 0; i < count; ++i) {
    tasks.push_back(std::make_unique<Task>(registry, registry.intern("x")));
  }
  return tasks;
}

void end_tasks(std::vector<std::unique_ptr<Task>>& tasks) {
  while (!tasks.empty()) tasks.pop_back();  // they nest: the last one first
}

TEST_CASE("slots that threads have kept are there for others, also when those threads are gone") {
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 16});
  run_tasks_on_threads(registry, 16);
  auto tasks = begin_tasks(registry, 16);
  CHECK(registry.counters().untracked == 0);
  CHECK(registry.counters().live == 16);
  CHECK(registry.counters().started == 32);
  end_tasks(tasks);
}

TEST_CASE("a thread whose kept slot was taken goes on with another, or untracked in a full table") {
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 16});
  const TaskLabel label = registry.intern("x");
  TaskId first{};
  {
    const Task task(registry, label);
    first = task.id();
  }
  std::vector<TaskId> others;
  std::thread([&] {
    auto tasks = begin_tasks(registry, 17);
    for (const auto& task : tasks) others.push_back(task->id());
    end_tasks(tasks);
  }).join();
  CHECK(others.back() == TaskId::kNone);
  others.pop_back();
  CHECK(std::set<TaskId>(others.begin(), others.end()).size() == 16);
  CHECK(std::count(others.begin(), others.end(), first) == 0);
  CHECK(registry.counters().untracked == 1);
  // Ours was among the sixteen.
  const Task again(registry, label);
  CHECK(again.id() != TaskId::kNone);
  CHECK(again.id() != first);
  CHECK(registry.counters().live == 1);
}

TEST_CASE("a full table is searched for kept slots once a millisecond, not for every task") {
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 16});
  const TaskLabel label = registry.intern("x");
  auto tasks = begin_tasks(registry, 16);
  CHECK(Task(registry, label).id() == TaskId::kNone);  // searched, and found none
  tasks.pop_back();                                    // kept by this thread
  const auto id_on_thread = [&] {
    TaskId id{};
    std::thread([&] { id = Task(registry, label).id(); }).join();
    return id;
  };
  CHECK(id_on_thread() == TaskId::kNone);
  clock.advance(1ms);
  CHECK(id_on_thread() != TaskId::kNone);
  end_tasks(tasks);
}

TEST_CASE("a registry knows nothing of slots that a thread has kept of one before") {
  FakeClock clock;
  const auto id_in_new_registry = [&] {
    TaskRegistry registry(clock, {.tasks_max = 16});
    auto tasks = begin_tasks(registry, 16);
    CHECK(registry.counters().live == 16);
    const TaskId first = tasks.front()->id();
    end_tasks(tasks);
    return first;
  };
  const TaskId first = id_in_new_registry();
  CHECK(id_in_new_registry() == first);
  // Two at once, on one thread: both serve all of their tasks.
  TaskRegistry older(clock, {.tasks_max = 16});
  TaskRegistry newer(clock, {.tasks_max = 16});
  for (int i = 0; i < 100; ++i) {
    const Task a(older, older.intern("x"));
    const Task b(newer, newer.intern("x"));
    CHECK(Task::current() == b.id());
  }
  auto tasks = begin_tasks(older, 16);
  CHECK(older.counters().untracked + newer.counters().untracked == 0);
  CHECK(older.counters().started == 116);
  end_tasks(tasks);
}

// More threads than slots, each with tasks inside one another: slots are kept, taken and reclaimed
// all the time.
TEST_CASE("threads that take slots from one another lose none and share none") {
  constexpr int kThreads = 12;
  constexpr int kRounds = 2'000;
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 16});
  const TaskLabel label = registry.intern("x");
  std::atomic<std::uint64_t> tracked{0};
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        clock.advance(1ms);  // so that each may search
        const Task outer(registry, label);
        const Task inner(registry, label);
        for (const TaskId id : {outer.id(), inner.id()}) {
          if (id == TaskId::kNone) continue;
          ++tracked;
          const auto info = registry.find(id);
          if (!info || info->thread != current_thread_id()) ++shared;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(shared == 0);
  CHECK(registry.counters().live == 0);
  CHECK(registry.counters().started == tracked);
  CHECK(registry.counters().started + registry.counters().untracked ==
        std::uint64_t{2} * kThreads * kRounds);
  clock.advance(1ms);
  auto tasks = begin_tasks(registry, 16);
  CHECK(registry.counters().live == 16);
  end_tasks(tasks);
}

TEST_CASE("the same text is the same label") {
  FakeClock clock;
  TaskRegistry registry(clock);
  const std::string text = "GET /a";
  CHECK(registry.intern(text).text().data() == registry.intern("GET /a").text().data());
  CHECK(TaskLabel().text().empty());
}

// Writers begin and end tasks as fast as they can while the main thread reads. Every writer uses a
// label of its own and stamps its tasks with a start time that encodes it, so a torn read shows as
// a label that does not fit its time.
TEST_CASE("a reader never sees a torn task") {
  constexpr int kWriters = 4;
  FakeClock clock;
  TaskRegistry registry(clock, {.tasks_max = 16});
  std::atomic<bool> stop{false};
  std::vector<std::string> names;
  for (int w = 0; w < kWriters; ++w) names.push_back("writer " + std::to_string(w));
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      const TaskLabel label = registry.intern(names[w]);
      while (!stop) Task task(registry, label, MonotonicTime(Duration(w + 1)));
    });
  }
  std::size_t seen = 0;
  std::size_t torn = 0;
  // On a busy machine the writers may not have begun yet, so passes are not counted but time is.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (seen < 20'000 && std::chrono::steady_clock::now() < until) {
    for (const TaskInfo& task : registry.snapshot()) {
      ++seen;
      const auto writer = static_cast<std::size_t>(task.started.time_since_epoch().count()) - 1;
      if (writer >= names.size() || task.label != names[writer]) ++torn;
    }
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  CHECK(seen > 0);
  CHECK(torn == 0);
  CHECK(registry.counters().live == 0);
}

TEST_CASE("streaming is said of the innermost task of the thread, and ends with it") {
  FakeClock clock;
  TaskRegistry registry(clock);
  (void)Task::stream(std::chrono::seconds(1));  // outside any task: nothing
  Task::stream(std::chrono::seconds(1)).made();
  const Task outer(registry, registry.intern("outer"));
  TaskProgress progress;
  TaskId id{};
  {
    const Task inner(registry, registry.intern("inner"));
    id = inner.id();
    progress = Task::stream(std::chrono::microseconds(1));
    CHECK(registry.find(id)->stalled_after == std::chrono::milliseconds(1));
    progress = Task::stream(Duration::max());  // no limit that anybody sees the end of
    CHECK(registry.find(id)->stalled_after > std::chrono::hours(24 * 40));
    CHECK(registry.find(id)->progressed_at == clock.now());
    clock.advance(std::chrono::seconds(3));
    CHECK(registry.find(id)->without_progress(clock.now()) == std::chrono::seconds(3));
    std::thread([&] { progress.made(); }).join();
    CHECK(registry.find(id)->without_progress(clock.now()) == Duration::zero());
    progress.waits();
    clock.advance(std::chrono::seconds(3));
    CHECK(registry.find(id)->without_progress(clock.now()) == Duration::zero());
  }
  CHECK_FALSE(registry.find(outer.id())->streaming());
  // The next task of the slot is no stream, and the old handle does not touch it.
  std::vector<std::unique_ptr<Task>> tasks;
  for (int i = 0; i < 40; ++i) {
    tasks.push_back(std::make_unique<Task>(registry, registry.intern("next")));
    (void)Task::stream(std::chrono::seconds(9));
  }
  clock.advance(std::chrono::seconds(5));
  progress.made();
  for (const TaskInfo& task : registry.snapshot()) {
    if (task.label == "next") CHECK(task.without_progress(clock.now()) == std::chrono::seconds(5));
  }
  while (!tasks.empty()) tasks.pop_back();
  const Task plain(registry, registry.intern("plain"));
  CHECK_FALSE(registry.find(plain.id())->streaming());
}

}  // namespace
}  // namespace vigil::leakwatch
