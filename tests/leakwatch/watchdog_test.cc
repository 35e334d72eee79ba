#include "leakwatch/watchdog.h"

#include <deque>
#include <map>
#include <optional>
#include <thread>

#include "base/thread_id.h"
#include "tests/leakwatch/watchdog_fixture.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;
using test::FakeStacks;
using Fixture = test::WatchdogFixture;

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
  f.stacks.each_elsewhere = true;
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
  CHECK(create(20ms).ok());
  CHECK(create(0ms).ok());
  const auto refused = create(20ms - 1ns);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == ErrorCode::kInvalidArgument);
  CHECK(refused.error().message().find("threshold") != std::string::npos);
}

TEST_CASE("the interval is an eighth of the threshold within its limits") {
  CHECK(Fixture({.threshold = 1s}).watchdog->interval() == 125ms);
  CHECK(Fixture({.threshold = 20ms}).watchdog->interval() == 5ms);
  CHECK(Fixture({.threshold = 1h}).watchdog->interval() == 1s);
  CHECK(Fixture({.threshold = 1h, .label_thresholds = {{"GET /a", 80ms}, {"GET /b", 0s}}})
            .watchdog->interval() == 10ms);
  for (const Duration threshold : {Duration(20ms), Duration(40ms), Duration(100ms), Duration(1s)}) {
    CHECK(Fixture({.threshold = threshold}).watchdog->interval() <= threshold / 4);
  }
}

TEST_CASE("a threshold below the time between passes is refused, whose it is and both numbers") {
  FakeClock clock;
  TaskRegistry registry(clock);
  FakeStacks stacks;
  RecordingSink sink;
  const WatchdogOptions options{
      .threshold = 5s, .label_thresholds = {{"GET /a", 250ms}}, .interval = 500ms};
  const auto refused = Watchdog::create(options, registry, stacks, sink, clock);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == ErrorCode::kInvalidArgument);
  CHECK(refused.error().message().find("\"GET /a\" is 250ms, below the time between the watchdog's "
                                       "passes, 500ms") != std::string::npos);
  WatchdogOptions equal = options;
  equal.interval = 250ms;
  CHECK(Watchdog::create(equal, registry, stacks, sink, clock).ok());
}

TEST_CASE("tasks with the same stack are one report with a count, and one record") {
  Fixture f;
  const TaskLabel label = f.registry.intern("GET /lock");
  std::deque<Task> tasks;
  for (int i = 0; i < 300; ++i) tasks.emplace_back(f.registry, label);
  f.clock.advance(1s);
  f.step();
  auto reports = f.watchdog->reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].tasks == 300);
  CHECK(reports[0].stuck_now == 300);
  CHECK(reports[0].members.size() == StuckReport::kMembersMax);
  REQUIRE(f.sink.lines().size() == 1);
  CHECK(f.sink.lines()[0].find("\"tasks\":300") != std::string::npos);
  CHECK(f.watchdog->counters().flagged == 300);
  CHECK(f.watchdog->counters().reported == 1);

  Task late(f.registry, label);  // joins them, which is no news
  f.clock.advance(1s - 1ns);
  f.step();
  CHECK(f.watchdog->reports().at(0).tasks == 300);
  const auto lines = f.sink.lines().size();
  f.clock.advance(1ns);
  f.step();
  CHECK(f.watchdog->reports().at(0).tasks == 301);
  CHECK(f.sink.lines().size() == lines + 1);  // the second threshold of the others

  while (tasks.size() > 1) tasks.pop_back();
  f.step();
  reports = f.watchdog->reports();
  CHECK(reports.at(0).state == EpisodeState::kStuck);
  CHECK(reports.at(0).stuck_now == 2);
  tasks.pop_back();  // the first one: the report gets another task
  f.step();
  CHECK(f.watchdog->reports().at(0).task.id == late.id());
  CHECK(f.watchdog->counters().recovered == 300);
}

TEST_CASE("a task is reported again at 2, 4, 8 … thresholds, once at each") {
  Fixture f;
  Task task(f.registry, f.registry.intern("x"));
  for (int quarter = 0; quarter < 40; ++quarter) {  // ten seconds
    f.clock.advance(250ms);
    f.step();
    f.step();
  }
  CHECK(f.watchdog->reports().size() == 1);
  CHECK(f.watchdog->reports()[0].level == 3);
  const auto lines = f.sink.lines();
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].find("\"msg\":\"handler stuck\"") != std::string::npos);
  const std::pair<int, const char*> later[] = {{1, "2"}, {2, "4"}, {3, "8"}};
  for (const auto& [line, times] : later) {
    CHECK(lines[line].find("\"msg\":\"handler still stuck\"") != std::string::npos);
    CHECK(lines[line].find(std::string("\"age_ms\":") + times + "000") != std::string::npos);
    CHECK(lines[line].find(std::string("\"thresholds_passed\":") + times) != std::string::npos);
  }
}

TEST_CASE("thresholds by label and by task stand before the general one") {
  Fixture f({.threshold = 1s, .label_thresholds = {{"GET /export", 10s}, {"GET /any", 0s}}});
  Task slow(f.registry, f.registry.intern("GET /export"));
  Task any(f.registry, f.registry.intern("GET /any"));
  Task own(f.registry, f.registry.intern("GET /own"));
  Task::allow(20s);
  f.clock.advance(10s - 1ns);
  f.step();
  CHECK(f.watchdog->reports().empty());
  f.clock.advance(1ns);
  f.step();
  REQUIRE(f.watchdog->reports().size() == 1);
  CHECK(f.watchdog->reports()[0].task.label == "GET /export");
  CHECK(f.watchdog->reports()[0].limit == 10s);
  f.clock.advance(10s);
  f.step();
  CHECK(f.watchdog->counters().flagged == 2);
  CHECK(f.registry.find(own.id())->stuck_after == 20s);
  f.clock.advance(24h);
  f.step();
  CHECK(f.watchdog->counters().flagged == 2);  // /any may get as old as it likes
}

TEST_CASE("records are limited in a minute, and what is suppressed is counted and told") {
  Fixture f({.threshold = 1s, .records_per_minute_max = 3});
  f.stacks.each_elsewhere = true;
  std::deque<Task> tasks;
  for (int i = 0; i < 10; ++i) tasks.emplace_back(f.registry, f.registry.intern("x"));
  f.stacks.during_capture = [] {};
  f.clock.advance(1s);
  f.step();
  // All tasks of a test run on one thread, and so have one stack in a pass.
  for (int i = 0; i < 5; ++i) {
    Task more(f.registry, f.registry.intern("y"));
    f.clock.advance(1s);
    f.step();
  }
  CHECK(f.sink.lines().size() == 3);
  const auto suppressed = f.watchdog->counters().records_suppressed;
  CHECK(suppressed > 0);
  f.clock.advance(1min);
  Task last(f.registry, f.registry.intern("z"));
  f.clock.advance(1s);
  f.step();
  REQUIRE(f.sink.lines().size() > 3);
  CHECK(f.sink.lines()[3].find("\"suppressed_before\":" + std::to_string(suppressed)) !=
        std::string::npos);
}

TEST_CASE("later looks tell whether a stuck task moves, and what its thread used meanwhile") {
  Fixture f;
  f.stacks.cpu = 1s;
  f.stacks.queued = 0s;
  Task task(f.registry, f.registry.intern("x"));
  f.clock.advance(1s);
  f.step();
  CHECK(movement_text(f.watchdog->reports().at(0).movement).empty());
  f.clock.advance(500ms);
  f.step();
  f.clock.advance(39'500ms);
  f.step();
  CHECK(movement_text(f.watchdog->reports().at(0).movement) == "same frames for 40s, blocked");
  f.stacks.place = 82;
  f.stacks.cpu = 40s;
  f.clock.advance(1s);
  f.step();
  CHECK(movement_text(f.watchdog->reports().at(0).movement) ==
        "progressing (frames changed in 1 of 3 looks), spinning (used 39s of CPU in 41s)");
  CHECK(f.watchdog->reports().at(0).movement.same_for == 0s);
  f.stacks.cpu = 1s;
  f.stacks.queued = 30s;
  f.step();
  CHECK(movement_text(f.watchdog->reports().at(0).movement).find("runnable without a CPU") !=
        std::string::npos);
}

TEST_CASE("a report names the request, redacted, and who holds what it waits for") {
  Fixture f;
  const std::string target = "/pay?card=4711&x&y=";
  const TaskRequest about{
      .method = "POST", .target = target, .request_id = "id-7", .peer = "10.0.0.7:99"};
  f.stacks.wait = {.kind = sampler::WaitKind::kMutex,
                   .object = 0xA,
                   .owner = current_thread_id(),
                   .text = "mutex 0xa held by somebody"};
  Task task(f.registry, f.registry.intern("POST /pay"),
            TaskStart{.now = f.clock.now(), .request = &about});
  Task inner(f.registry, f.registry.intern("charge"));
  f.clock.advance(1s);
  f.step();
  const auto reports = f.watchdog->reports();
  REQUIRE(reports.size() == 1);
  REQUIRE(reports[0].request);
  CHECK(reports[0].request->method == "POST");
  CHECK(reports[0].request->target == "/pay?card=[redacted]&x&y=[redacted]");
  CHECK(reports[0].request->request_id == "id-7");
  CHECK(reports[0].request->peer == "10.0.0.7:99");
  REQUIRE(reports[0].holder);
  CHECK(reports[0].holder->task->id == inner.id());
  CHECK(f.registry.request_of(inner.id())->method == "POST");  // its request's
  const std::string line = f.sink.lines().at(0);
  CHECK(line.find("4711") == std::string::npos);
  CHECK(line.find("\"holder\":\"thread ") != std::string::npos);
  CHECK(line.find("\"waits_for\":\"mutex 0xa held by somebody\"") != std::string::npos);
}

TEST_CASE("what a task lends is read fault-safely, and not believed after its end") {
  FakeClock clock;
  TaskRegistry registry(clock);
  const TaskRequest broken{.method = {reinterpret_cast<const char*>(8), 5}, .target = "/"};
  TaskId ended{};
  {
    Task task(registry, registry.intern("x"), TaskStart{.now = clock.now(), .request = &broken});
    const auto info = registry.request_of(task.id());
    REQUIRE(info);
    CHECK(info->method.empty());
    CHECK(info->target == "/");
    ended = task.id();
  }
  CHECK_FALSE(registry.request_of(ended));
  Task reused(registry, registry.intern("y"));  // the same slot: the former request is not its own
  CHECK_FALSE(registry.request_of(reused.id()));
  CHECK_FALSE(read_request(reinterpret_cast<const TaskRequest*>(16)));
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
