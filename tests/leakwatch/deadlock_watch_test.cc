#include "leakwatch/deadlock_watch.h"

#include <deque>

#include "base/fake_clock.h"
#include "tests/support/catch.h"
#include "tests/support/count_of.h"

namespace vigil::leakwatch {
namespace {

// Answers each look with the next of `looks`, the last one again and again.
class ScriptedStacks final : public StackSource {
 public:
  std::deque<std::vector<WaitEdge>> looks;
  sampler::WaitKind kind = sampler::WaitKind::kMutex;
  std::vector<std::size_t> threads_asked;
  std::size_t captures = 0;

  std::vector<LiveStack> capture(std::span<const pid_t> threads, MonotonicTime) override {
    ++captures;
    std::vector<LiveStack> stacks;
    for (const pid_t thread : threads) {
      LiveStack& stack = stacks.emplace_back();
      stack.thread = thread;
      stack.wait = {.kind = kind, .text = "mutex 0xa held by somebody"};
      stack.frames = {{.function = "demo::lock_both", .file = "/src/work.cc", .line = 140}};
    }
    return stacks;
  }
  std::vector<LiveStack> capture_all(MonotonicTime) override { return {}; }
  std::vector<WaitEdge> lock_waits(std::span<const pid_t> threads) override {
    threads_asked.push_back(threads.size());
    std::vector<WaitEdge> edges = looks.front();
    if (looks.size() > 1) looks.pop_front();
    return edges;
  }
};

std::vector<TaskInfo> tasks_on(std::initializer_list<pid_t> threads) {
  std::vector<TaskInfo> tasks;
  for (const pid_t thread : threads) {
    TaskInfo& task = tasks.emplace_back();
    task.id = TaskId{tasks.size()};
    task.label = "GET /deadlock";
    task.thread = thread;
  }
  return tasks;
}

const std::vector<WaitEdge> kPair = {{1, 2, 0xB, 7}, {2, 1, 0xA, 9}};

TEST_CASE("cycles are found among chains, forks and threads that wait for themselves") {
  CHECK(find_cycles({}).empty());
  const std::vector<WaitEdge> chain = {{1, 2, 0xA, 0}, {2, 3, 0xB, 0}, {4, 2, 0xA, 0}};
  CHECK(find_cycles(chain).empty());

  // 5 and 6 wait for a thread of the cycle 2 → 3 → 4 → 2 and are not of it.
  const std::vector<WaitEdge> cycle = {
      {5, 3, 0xC, 0}, {4, 2, 0xA, 0}, {2, 3, 0xC, 0}, {3, 4, 0xB, 0}, {6, 5, 0xD, 0}};
  const auto found = find_cycles(cycle);
  REQUIRE(found.size() == 1);
  CHECK(found[0] == WaitCycle{{2, 3, 0xC, 0}, {3, 4, 0xB, 0}, {4, 2, 0xA, 0}});

  const std::vector<WaitEdge> two = {{9, 9, 0xE, 0}, {1, 2, 0xA, 0}, {2, 1, 0xB, 0}};
  const auto both = find_cycles(two);
  REQUIRE(both.size() == 2);
  CHECK(both[0].size() == 2);
  CHECK(both[1] == WaitCycle{{9, 9, 0xE, 0}});
}

TEST_CASE("a cycle counts only if none of its threads has run between the two looks") {
  CHECK(confirmed_cycles(kPair, kPair).size() == 1);
  std::vector<WaitEdge> later = kPair;
  later[1].witness = 10;
  CHECK(confirmed_cycles(kPair, later).empty());
}

TEST_CASE("a deadlock is reported once, with both threads, and is over when the cycle is gone") {
  ScriptedStacks stacks;
  DeadlockWatch watch(stacks);
  stacks.looks = {kPair};
  const auto found = watch.step(tasks_on({1, 2, 3}), {});
  REQUIRE(found.size() == 1);
  REQUIRE(found[0].parties.size() == 2);
  CHECK(found[0].parties[0].waits == kPair[0]);
  CHECK(found[0].parties[0].task->id == TaskId{1});
  CHECK(found[0].parties[1].task->id == TaskId{2});
  CHECK(found[0].parties[1].stack.thread == 2);
  const std::string text = format_deadlock(found[0]);
  CHECK(text.find("in task 2 GET /deadlock\nwaits for mutex 0xa held by somebody\n") !=
        std::string::npos);

  std::vector<WaitEdge> rerun = kPair;  // a signal has made them run, and wait again
  rerun[0].witness = 100;
  stacks.looks = {rerun};
  CHECK(watch.step(tasks_on({1, 2, 3}), {}).empty());
  CHECK(watch.is_present(found[0]));
  CHECK(stacks.captures == 1);

  stacks.looks = {{}};
  CHECK(watch.step(tasks_on({1, 2, 3}), {}).empty());
  CHECK_FALSE(watch.is_present(found[0]));

  stacks.looks = {kPair};
  CHECK(watch.step(tasks_on({1, 2, 3}), {}).size() == 1);
}

TEST_CASE("a cycle that is gone at the second look, or that the frames deny, is none") {
  ScriptedStacks stacks;
  DeadlockWatch watch(stacks);
  stacks.looks = {kPair, {}};
  CHECK(watch.step(tasks_on({1, 2}), {}).empty());
  CHECK(stacks.captures == 0);

  stacks.looks = {kPair};
  stacks.kind = sampler::WaitKind::kFutex;
  CHECK(watch.step(tasks_on({1, 2}), {}).empty());
  CHECK(stacks.captures == 1);
}

TEST_CASE("a pass looks at a bounded number of threads, and passes take turns") {
  ScriptedStacks stacks;
  stacks.looks = {{}};
  DeadlockWatch watch(stacks);
  std::vector<TaskInfo> tasks(DeadlockWatch::kThreadsMax + 10);
  for (std::size_t i = 0; i < tasks.size(); ++i) tasks[i].thread = static_cast<pid_t>(i + 1);
  (void)watch.step(tasks, {});
  CHECK(stacks.threads_asked.back() == DeadlockWatch::kThreadsMax);
  tasks.resize(DeadlockWatch::kThreadsMax);
  (void)watch.step(tasks, {});
  CHECK(stacks.threads_asked.back() == DeadlockWatch::kThreadsMax);
  (void)watch.step(tasks_on({1, 1, 1}), {});
  CHECK(stacks.threads_asked.back() == 1);
}

TEST_CASE("the graph as DOT and SVG names threads, locks and the cycle") {
  std::vector<WaitEdge> edges = kPair;
  edges.push_back({3, 1, 0xA, 1});
  const ThreadTitles titles = {{1, "GET \"/a\" <1>"}};
  const std::string dot = lock_graph_dot(edges, titles);
  CHECK(dot.find("t1 [label=\"GET \\\"/a\\\" <1>\"]") != std::string::npos);
  CHECK(dot.find("t2 -> t1 [label=\"0xa\" color=red]") != std::string::npos);
  CHECK(dot.find("t3 -> t1 [label=\"0xa\"]") != std::string::npos);
  const std::string svg = lock_graph_svg(edges, titles);
  CHECK(svg.find("GET &quot;/a&quot; &lt;1&gt;") != std::string::npos);
  CHECK(svg.find("thread 3") != std::string::npos);
  // The ring of two, and the third thread with the owner of its lock.
  CHECK(test::count_of(svg, "<rect") == 4);
  CHECK(test::count_of(svg, "marker-end=\"url(#tip)\" stroke=\"#d33\"") == 2);
  CHECK(test::count_of(svg, "marker-end=\"url(#tip)\"/>") == 1);
  edges.erase(edges.begin());
  CHECK(lock_graph_svg(edges, titles).find("#d33") == std::string::npos);
  CHECK(lock_graph_svg({}, titles).find("No thread waits") != std::string::npos);
}

TEST_CASE("the picture of a graph has a thread and its task in two lines, and cuts them") {
  const ThreadTitles titles = {{1, "thread 1 vigil-work-1 in task 7 GET /" + std::string(60, 'x')}};
  const std::string svg = lock_graph_svg(std::vector<WaitEdge>{{1, 2, 0xA, 1}}, titles);
  CHECK(svg.find(">thread 1 vigil-work-1</text>") != std::string::npos);
  CHECK(svg.find(">task 7 GET /xxx") != std::string::npos);
  CHECK(svg.find("x…</text>") != std::string::npos);
  CHECK(svg.find(">thread 2</text>") != std::string::npos);
}

}  // namespace
}  // namespace vigil::leakwatch
