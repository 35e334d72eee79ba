#include "leakwatch/high_watermarks.h"

#include <fcntl.h>

#include "base/fd.h"
#include "base/process_counts.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using Change = WatermarkTrack::Change;

TEST_CASE("a watermark is crossed above its limit, and once until it has fallen to 90 % of it") {
  WatermarkTrack track(100);
  CHECK(track.update(100) == Change::kNone);
  CHECK(track.update(101) == Change::kCrossed);
  CHECK(track.update(500) == Change::kNone);
  CHECK(track.update(100) == Change::kNone);
  CHECK(track.update(90) == Change::kNone);
  CHECK(track.update(101) == Change::kNone);
  CHECK(track.update(89) == Change::kOver);
  CHECK(track.update(100) == Change::kNone);
  CHECK(track.update(101) == Change::kCrossed);
}

TEST_CASE("a limit of zero is none, and a limit of one can be crossed again") {
  WatermarkTrack none(0);
  CHECK(none.update(1'000'000) == Change::kNone);
  WatermarkTrack one(1);
  CHECK(one.update(2) == Change::kCrossed);
  CHECK(one.update(0) == Change::kNone);  // 90 % of one is nothing
}

TEST_CASE("threads and descriptors of this process are counted") {
  const std::uint64_t descriptors = count_descriptors();
  const std::uint64_t threads = count_threads();
  {
    const UniqueFd one(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const UniqueFd two(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(count_descriptors() == descriptors + 2);
  }
  CHECK(count_descriptors() == descriptors);
  CHECK(threads >= 1);
}

// Two threads at one place and one at another.
class Stacks final : public StackSource {
 public:
  std::vector<pid_t> asked;
  std::vector<LiveStack> capture(std::span<const pid_t> threads, MonotonicTime) override {
    asked.assign(threads.begin(), threads.end());
    return capture_all({});
  }
  std::vector<LiveStack> capture_all(MonotonicTime) override {
    return {stack(1, 10), stack(2, 20), stack(3, 20)};
  }
  std::vector<WaitEdge> lock_waits(std::span<const pid_t>) override { return {}; }

 private:
  static LiveStack stack(pid_t thread, std::uintptr_t address) {
    LiveStack stack;
    stack.thread = thread;
    stack.thread_name = "worker";
    stack.state = "sleep";
    stack.frames = {
        {.function = "place_" + std::to_string(address), .file = "x.cc", .address = address}};
    stack.end = sampler::StackEnd::kComplete;
    return stack;
  }
};

TaskInfo task_of(std::uint64_t id, std::string_view label, pid_t thread) {
  TaskInfo task;
  task.id = TaskId{id};
  task.label = label;
  task.thread = thread;
  return task;
}

TEST_CASE("a crossing has a dump of what there is, the commonest first") {
  Stacks stacks;
  HighWatermarkWatch watch({.tasks = 2, .threads = 10, .descriptors = 10}, stacks);
  const std::vector<TaskInfo> live = {task_of(1, "GET /a", 5), task_of(2, "GET /b", 4),
                                      task_of(3, "GET /b", 5), task_of(4, "co", 0)};
  auto crossed = watch.step({.tasks = 4, .threads = 10, .descriptors = 10}, live, {});
  REQUIRE(crossed.size() == 1);
  CHECK(crossed[0].kind == WatermarkKind::kTasks);
  CHECK(watermark_text(crossed[0]) == "4 tasks, more than 2");
  CHECK(crossed[0].dump.starts_with("       2  GET /b\n       1  GET /a\n       1  co\n"));
  CHECK(crossed[0].dump.find("\n2 threads [sleep], one of them 2 worker:\nplace_20(...)") !=
        std::string::npos);
  CHECK(crossed[0].dump.find("place_20") < crossed[0].dump.find("place_10"));
  CHECK(stacks.asked == std::vector<pid_t>{4, 5});

  crossed = watch.step({.tasks = 4, .threads = 11, .descriptors = 11}, live, {});
  REQUIRE(crossed.size() == 2);
  CHECK(crossed[0].kind == WatermarkKind::kThreads);
  CHECK(crossed[0].dump.starts_with("\n2 threads [sleep]"));
  CHECK(crossed[1].kind == WatermarkKind::kDescriptors);
  // Those of this very process.
  CHECK_FALSE(crossed[1].dump.empty());
  CHECK(watch.is_above(WatermarkKind::kDescriptors));
}

TEST_CASE("descriptors are told apart by what they are open on") {
  Stacks stacks;
  HighWatermarkWatch watch({.descriptors = 1}, stacks);
  std::vector<UniqueFd> open;
  for (int i = 0; i < 50; ++i) open.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto crossed = watch.step({.descriptors = 60}, {}, {});
  REQUIRE(crossed.size() == 1);
  const std::string& dump = crossed[0].dump;
  const std::string first = dump.substr(0, dump.find('\n'));
  CHECK(first.ends_with("  /dev/null"));
  CHECK(std::stoi(first) >= 50);
}

}  // namespace
}  // namespace vigil::leakwatch
