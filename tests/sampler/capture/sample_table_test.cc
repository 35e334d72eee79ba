#include "sampler/sample_table.h"

#include <set>

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

Stack stack_of(std::uintptr_t pc) {
  Stack stack;
  stack.frames.push_back(FrameAddress::return_address(pc));
  stack.end = StackEnd::kComplete;
  return stack;
}

constexpr MonotonicTime kStart(1h);

ThreadWork task(std::string_view name, std::uint64_t id = 1, MonotonicTime started = kStart) {
  return {work_name(name), id, started, {}};
}

ThreadWork labelled(ThreadWork work, LabelList labels) {
  const LabelScope scope(labels);
  work.labels = own_work().labels;
  return work;
}

void add(SampleTable& table, const ThreadWork& work, std::int64_t count = 1,
         MonotonicTime now = kStart, std::uintptr_t pc = 100) {
  table.add(table.cell_of(stack_of(pc), work, {}), {count, count * 10}, now);
}

StackProfile finish(SampleTable& table, MonotonicTime now = kStart) {
  StackProfile profile;
  table.finish(now, profile);
  return profile;
}

std::int64_t total(const StackProfile& profile) {
  std::int64_t sum = 0;
  for (const StackSample& sample : profile.samples) sum += sample.values.at(0);
  return sum;
}

// "key=value key=value" of the only sample.
std::string only_labels(const StackProfile& profile) {
  REQUIRE(profile.samples.size() == 1);
  std::string text;
  for (const Label& label : profile.samples[0].labels) {
    text += (text.empty() ? "" : " ") + label.key + "=" +
            (label.unit.empty() ? label.text : std::to_string(label.number) + label.unit);
  }
  return text;
}

std::string labels_with(LabelChoice choice, const ThreadWork& work, std::string_view state = {}) {
  SampleTable table({.labels = std::move(choice)});
  table.add(table.cell_of(stack_of(1), work, state), {1, 1}, kStart);
  return only_labels(finish(table));
}

TEST_CASE("samples are labelled with route, method, state and the program's own") {
  using Kind = LabelChoice::Kind;
  const ThreadWork work = labelled(task("GET /x/{id}", 12), {{"tenant", "acme"}});
  CHECK(labels_with({}, work) == "method=GET route=/x/{id} tenant=acme");
  CHECK(labels_with({}, work, "sleep") == "method=GET route=/x/{id} state=sleep tenant=acme");
  CHECK(labels_with({.kind = Kind::kAll}, work) ==
        "method=GET route=/x/{id} task=12id tenant=acme");
  CHECK(labels_with({.kind = Kind::kNone}, work, "sleep").empty());
  CHECK(labels_with({.kind = Kind::kOnly, .keys = {"task", "tenant"}}, work) ==
        "task=12id tenant=acme");
  CHECK(labels_with({}, task("nightly export")) == "route=nightly export");
  CHECK(labels_with({}, {}).empty());
}

TEST_CASE("a program's own route is used instead of the task's, its own state is not") {
  const ThreadWork work =
      labelled(task("GET /x"), {{"route", "/mine"}, {"state", "happy"}, {"task", "x"}});
  CHECK(labels_with({.kind = LabelChoice::Kind::kAll}, work, "sleep") ==
        "method=GET route=/mine state=sleep task=1id");
  SampleTable mine({.routes = {"/mine"}});
  add(mine, work);
  CHECK(total(finish(mine)) == 1);
  SampleTable tasks({.routes = {"/x"}});
  add(tasks, work);
  CHECK(total(finish(tasks)) == 0);
}

TEST_CASE("samples add up by stack and labels") {
  SampleTable table({});
  add(table, task("GET /a"), 2);
  add(table, task("GET /a", 7), 3);
  add(table, task("GET /b"), 5);
  add(table, task("GET /a"), 7, kStart, 200);
  const StackProfile profile = finish(table);
  CHECK(profile.samples.size() == 3);
  CHECK(total(profile) == 17);
  for (const StackSample& sample : profile.samples) {
    CHECK(sample.values.at(1) == sample.values.at(0) * 10);
  }
}

TEST_CASE("a route filter takes a route or a whole name, several of them, and counts the rest") {
  SampleTable table({.routes = {"/a", "POST /b"}});
  add(table, task("GET /a"), 1);
  add(table, task("PUT /a"), 2);
  add(table, task("POST /b"), 4);
  add(table, task("GET /b"), 8);
  add(table, task("GET /a/b"), 16);
  add(table, {}, 32);
  const StackProfile profile = finish(table);
  CHECK(total(profile) == 7);
  CHECK(profile.counters.at("samples_filtered") == 56);
}

// Tasks that are alive, by number.
struct Live {
  std::set<std::uint64_t> tasks;
  SampleOptions options(Duration min_latency) {
    return {.min_latency = min_latency,
            .is_live = [this](std::uint64_t id, MonotonicTime) { return tasks.contains(id); }};
  }
};

TEST_CASE("a task's samples count once it is seen alive at the age asked for") {
  Live live{{1}};
  SampleTable table(live.options(250ms));
  add(table, task("GET /slow"), 1, kStart + 10ms);
  CHECK(table.next_threshold() == kStart + 250ms);
  add(table, task("GET /slow"), 2, kStart + 100ms);
  table.settle(kStart + 250ms - 1ns);
  CHECK(table.next_threshold() == kStart + 250ms);
  table.settle(kStart + 250ms);
  CHECK(table.next_threshold() == kNoDeadline);
  live.tasks.clear();
  add(table, task("GET /slow"), 4, kStart + 260ms);  // waited in its slot
  const StackProfile profile = finish(table, kStart + 300ms);
  CHECK(total(profile) == 7);
  CHECK(profile.counters.at("samples_filtered") == 0);
}

TEST_CASE("a task that ended before is dropped whole, with what comes late") {
  Live live{{1}};
  SampleTable table(live.options(250ms));
  add(table, task("GET /fast"), 1, kStart + 10ms);
  live.tasks.clear();
  table.settle(kStart + 250ms);
  add(table, task("GET /fast"), 2, kStart + 260ms);
  add(table, {}, 4, kStart + 260ms);
  const StackProfile profile = finish(table, kStart + 10s);
  CHECK(total(profile) == 0);
  CHECK(profile.counters.at("samples_filtered") == 7);
}

TEST_CASE("a task that still runs at the end counts if it is old enough") {
  for (const Duration age : {Duration(250ms), Duration(250ms - 1ns)}) {
    Live live{{1}};
    SampleTable table(live.options(250ms));
    add(table, task("GET /running"), 1, kStart + 10ms);
    CHECK(total(finish(table, kStart + age)) == (age == 250ms ? 1 : 0));
  }
}

TEST_CASE("two tasks of one number, begun at other times, are two") {
  Live live{{1}};
  SampleTable table(live.options(100ms));
  add(table, task("GET /a", 1, kStart), 1, kStart);
  add(table, task("GET /a", 1, kStart + 50ms), 2, kStart + 60ms);
  table.settle(kStart + 100ms);
  live.tasks.clear();
  CHECK(total(finish(table, kStart + 200ms)) == 1);
}

TEST_CASE("memory is bounded, and what does not fit is counted") {
  SampleTable table({});
  const std::size_t more = 10;
  for (std::size_t i = 0; i < SampleTable::kStacksMax + more; ++i) {
    add(table, {}, 1, kStart, 1000 + i);
  }
  add(table, {}, 1, kStart, 1000);  // a known one still counts
  const StackProfile profile = finish(table);
  CHECK(total(profile) == std::int64_t{SampleTable::kStacksMax} + 1);
  CHECK(profile.counters.at("samples_dropped") == std::int64_t{more});

  SampleTable labels({.labels = {.kind = LabelChoice::Kind::kAll}});
  for (std::size_t i = 0; i < SampleTable::kLabelSetsMax + more; ++i) {
    add(labels, task("GET /a", i + 1));
  }
  const StackProfile labelled_profile = finish(labels);
  CHECK(total(labelled_profile) == std::int64_t{SampleTable::kLabelSetsMax + more});
  CHECK(labelled_profile.counters.at("samples_unlabelled") == std::int64_t{more});

  Live live;
  SampleTable waiting(live.options(1h));
  for (std::size_t i = 0; i < SampleTable::kWaitingMax + more; ++i) {
    add(waiting, task("GET /a", i + 1));
  }
  const StackProfile waited = finish(waiting);
  CHECK(waited.counters.at("samples_dropped") == std::int64_t{more});
  CHECK(waited.counters.at("samples_filtered") == std::int64_t{SampleTable::kWaitingMax});
}

}  // namespace
}  // namespace vigil::sampler
