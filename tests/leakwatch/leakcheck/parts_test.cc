// The pure parts of the leak check, and what it knows without vigil::creation_stacks.

#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "base/fake_clock.h"
#include "leakwatch/leakcheck/ignore_rules.h"
#include "leakwatch/leakcheck/leak_check.h"
#include "leakwatch/leakcheck/posix_timers.h"
#include "sampler/signal_channel.h"
#include "tests/leakwatch/leakcheck/leaky.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

TEST_CASE("the kernel's list of timers, also cut anywhere") {
  const std::string text =
      "ID: 3\nsignal: 34/00007fff\nnotify: thread/pid.12\nClockID: 1\n"
      "ID: 17\nsignal: 0/0\nnotify: none/pid.12\nClockID: 0\n";
  const auto timers = parse_posix_timers(text);
  REQUIRE(timers.size() == 2);
  CHECK(timers[0] == PosixTimer{.id = 3, .notify = "thread/pid.12", .signal = 34, .clock = 1});
  CHECK(timers[1].id == 17);
  for (std::size_t i = 0; i < text.size(); ++i) {
    CHECK(parse_posix_timers(text.substr(0, i)).size() <= 2);
  }
  CHECK(parse_posix_timers("signal: 3\nID: x\nnotify: none\n").empty());
}

TEST_CASE("a rule is a whole name, or a prefix with a star") {
  CHECK(matches_rule("a::b", "a::b"));
  CHECK_FALSE(matches_rule("a::bc", "a::b"));
  CHECK(matches_rule("a::bc", "a::b*"));
  CHECK(matches_rule("a::b", "a::b*"));
  CHECK_FALSE(matches_rule("a::", "a::b*"));
  CHECK(matches_rule("anything", "*"));
  const std::vector<sampler::TextFrame> frames = {{.function = "top"}, {.function = "below"}};
  CHECK(is_ignored({.top_function = {"top"}}, {.now = frames}));
  CHECK_FALSE(is_ignored({.top_function = {"below"}}, {.now = frames}));
  CHECK(is_ignored({.any_function = {"below"}}, {.now = frames}));
  CHECK_FALSE(is_ignored({.any_function = {"below"}}, {.created = frames}));
  CHECK(is_ignored({.creator = {"below"}}, {.created = frames}));
  CHECK_FALSE(is_ignored({.creator = {"below"}}, {.now = frames}));
  CHECK(is_ignored({.thread_name = {"pool-*"}}, {.thread_name = "pool-3"}));
  CHECK_FALSE(is_ignored({.thread_name = {"*"}}, {.thread_name = ""}));
}

TEST_CASE("a task's scope is its thread's, or that of the parent that it names") {
  FakeClock clock;
  TaskRegistry tasks(clock, {.tasks_max = 16});
  const TaskLabel label = tasks.intern("t");
  const ScopeId scope = new_scope();
  TaskId parent = TaskId::kNone;
  {
    const ScopeGuard guard(scope);
    const Task task(tasks, label);
    parent = task.id();
    CHECK(tasks.find(parent)->scope == scope);
    std::vector<ScopeId> seen;
    std::thread([&] {
      seen.push_back(current_scope());
      {
        const Task child(tasks, label, {.now = clock.now(), .parent = parent});
        seen.push_back(current_scope());
      }
      seen.push_back(current_scope());
    }).join();
    CHECK(seen == std::vector{ScopeId::kNone, scope, ScopeId::kNone});
  }
  CHECK(current_scope() == ScopeId::kNone);
  const Task later(tasks, label);
  CHECK(tasks.find(later.id())->scope == ScopeId::kNone);
}

TEST_CASE("without creation_stacks each kind is found too, and nothing of the check's own") {
  REQUIRE_FALSE(creations_are_noted());
  SystemClock clock;
  for (const test::LeakKind& kind : test::leak_kinds()) {
    LeakCheck check({.registries = {&test::leaky_tasks()}}, clock);
    const test::End end = kind.begin();
    const LeakReport report = check.finish();
    end();
    INFO(kind.name << ": " << format_leaks(report));
    REQUIRE(report.leaks.size() == 1);
    CHECK(resource_kind_name(report.leaks[0].resource.kind) == kind.kind);
    CHECK(format_leaks(report).find("link vigil::creation_stacks") != std::string::npos);
    LeakCheck twin({.registries = {&test::leaky_tasks()}}, clock);
    kind.begin()();
    CHECK(twin.finish().clean());
  }
}

TEST_CASE("a stack source that cannot be had is said, and the leak is reported all the same") {
  SystemClock clock;
  auto taken = sampler::SignalChannel::install({});
  REQUIRE(taken);
  LeakCheck check({.tries = 1}, clock);
  const test::End end = test::leaky_begin_thread();
  const LeakReport report = check.finish();
  end();
  CHECK(report.leaks.size() == 1);
  REQUIRE(report.notes.size() == 1);
  CHECK(report.notes[0].starts_with("current stacks: "));
  CHECK(format_leaks(report).find("not looked at: current stacks: ") != std::string::npos);
}

}  // namespace
}  // namespace vigil::leakwatch
