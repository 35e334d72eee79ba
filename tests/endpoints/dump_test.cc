#include "endpoints/dump.h"

#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

using namespace std::chrono_literals;
using leakwatch::LiveStack;
using leakwatch::TaskId;
using leakwatch::TaskInfo;

constexpr MonotonicTime kNow(Duration(std::chrono::hours(100)));

LiveStack stack_of(pid_t thread) {
  LiveStack stack;
  stack.thread = thread;
  stack.thread_name = "vigil-work-3";
  stack.state = "futex wait";
  stack.frames = {
      {.function = "demo::wait_forever", .file = "/src/work.cc", .line = 81, .offset = 0x31}};
  stack.end = sampler::StackEnd::kComplete;
  return stack;
}

TaskInfo task_of(std::uint64_t id, std::string_view label, pid_t thread, Duration age) {
  TaskInfo task;
  task.id = TaskId{id};
  task.label = label;
  task.thread = thread;
  task.started = kNow - age;
  return task;
}

TEST_CASE("a task's block has Go's header, the stack, and a line with route, age and thread") {
  const std::string text =
      format_dump({task_of(12, "GET /stuck", 4711, 192s)}, {stack_of(4711)}, kNow);
  CHECK(text ==
        "goroutine 12 [futex wait, 3 minutes, labels:{\"method\":\"GET\",\"route\":\"/stuck\"}]:\n"
        "demo::wait_forever(...)\n"
        "\t/src/work.cc:81 +0x31\n"
        "# task 12: GET /stuck, age 3m12s, thread 4711 vigil-work-3\n");
}

TEST_CASE("minutes appear from one on, as in Go") {
  const auto header_of = [](Duration age) {
    const std::string text = format_dump({task_of(1, "x", 1, age)}, {stack_of(1)}, kNow);
    return text.substr(0, text.find(", labels"));
  };
  CHECK(header_of(60s - 1ns) == "goroutine 1 [futex wait");
  CHECK(header_of(60s) == "goroutine 1 [futex wait, 1 minutes");
}

TEST_CASE("threads without a task follow the tasks, none is listed twice") {
  const std::string text =
      format_dump({task_of(12, "GET /stuck", 4711, 1s)}, {stack_of(4710), stack_of(4711)}, kNow);
  CHECK(text.find("goroutine 12 [") == 0);
  CHECK(text.find("\n\ngoroutine 4710 [futex wait]:\n") != std::string::npos);
  CHECK(text.find("goroutine 4711") == std::string::npos);
}

TEST_CASE("a thread that could not be captured keeps its block and says why") {
  LiveStack stack = stack_of(4711);
  stack.frames = {};
  stack.end = sampler::StackEnd::kNotWalked;
  stack.failure = "it blocks the signal";
  const std::string text = format_dump({task_of(1, "x", 4711, 1s)}, {stack}, kNow);
  CHECK(text.find("]:\n[it blocks the signal]\n# task 1") != std::string::npos);
}

TEST_CASE("a program's own labels are beside the task's, and replace them") {
  LiveStack stack = stack_of(4711);
  stack.labels = {{"route", "/mine"}, {"tenant", "acme"}};
  const std::string text = format_dump({task_of(1, "GET /x", 4711, 1s)}, {stack}, kNow);
  CHECK(text.find("[futex wait, labels:{\"method\":\"GET\",\"route\":\"/mine\",\"tenant\":"
                  "\"acme\"}]:\n") != std::string::npos);
  const std::string thread = format_dump({}, {stack}, kNow);
  CHECK(thread.find("goroutine 4711 [futex wait, labels:{\"route\":\"/mine\",") == 0);
}

TEST_CASE("a task whose thread is gone is still listed") {
  const std::string text = format_dump({task_of(1, "x", 4711, 1s)}, {}, kNow);
  CHECK(text.find("goroutine 1 [gone, labels") == 0);
}

TEST_CASE("a task that waits on no thread shows the functions that await one another") {
  LiveStack awaits;
  awaits.state = "await";
  awaits.frames = {{.function = "shop::price_of", .file = "/src/prices.cc", .line = 17},
                   {.function = "shop::checkout", .file = "/src/checkout.cc", .line = 41}};
  awaits.end = sampler::StackEnd::kComplete;
  CHECK(format_dump({task_of(12, "checkout", 0, 61s)}, {}, kNow, {{TaskId{12}, awaits}}) ==
        "goroutine 12 [await, 1 minutes, labels:{\"route\":\"checkout\"}]:\n"
        "shop::price_of(...)\n\t/src/prices.cc:17 +0x0\n"
        "shop::checkout(...)\n\t/src/checkout.cc:41 +0x0\n"
        "# task 12: checkout, age 1m1s, waits on no thread\n");
}

TEST_CASE("a label cannot break out of its quotes") {
  const std::string text = format_dump({task_of(1, "a\"\n\xff", 1, 1s)}, {stack_of(1)}, kNow);
  CHECK(text.find("labels:{\"route\":\"a\\\"\\n\xEF\xBF\xBD\"}]:\n") != std::string::npos);
}

}  // namespace
}  // namespace vigil::endpoints
