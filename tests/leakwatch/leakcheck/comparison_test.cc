// What is a leak between two looks at a server, and the reports of it.

#include "leakwatch/leakcheck/comparison.h"

#include "leakwatch/leakcheck/check_report.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;

const ComparisonOptions kOptions{.debug_address = "127.0.0.1:6060", .heap_growth_bytes = 1000};

SnapshotThing thing(std::string kind, std::uint64_t id, std::string name) {
  return {.kind = std::move(kind), .id = id, .birth = "b", .name = std::move(name)};
}

Comparison compare(const ProcessSnapshot& before, const ProcessSnapshot& after,
                   const std::vector<AllowEntry>& allow = {}) {
  return compare_snapshots(before, after, allow, kOptions);
}

std::vector<std::string> titles(const Comparison& comparison) {
  std::vector<std::string> all;
  for (const Finding& finding : comparison.leaks) all.push_back(finding.title);
  return all;
}

TEST_CASE("what is new is a leak, what was there or has ended is none") {
  ProcessSnapshot before;
  ProcessSnapshot after;
  before.things = {thing("thread", 1, "main"), thing("descriptor", 5, "/a"),
                   thing("task", 9, "GET /old")};
  after.things = {thing("thread", 1, "main"), thing("descriptor", 5, "/a"),
                  thing("descriptor", 6, "/a"), thing("task", 10, "GET /new")};
  CHECK(compare(before, after).leaks.size() == 2);
  CHECK(titles(compare(before, after)) ==
        std::vector<std::string>{"descriptor 6 /a", "task 10 \"GET /new\""});
  CHECK(compare(before, before).clean());
  after.things[1].birth = "another file";
  CHECK(compare(before, after).leaks.size() == 3);
}

TEST_CASE("a server's own idle threads and our connections are no leaks, others' are") {
  const ProcessSnapshot before;
  ProcessSnapshot after;
  after.things = {thing("thread", 1, "vgdbg-work-1"), thing("thread", 2, "vigil-work-1"),
                  thing("socket", 3, "TCP 127.0.0.1:6060 from 127.0.0.1:1")};
  after.things[1].functions = {"poll", "vigil::http::ThreadPool::wait_for_work"};
  CHECK(compare(before, after).clean());
  after.things = {thing("thread", 2, "vigil-work-1"),
                  thing("socket", 3, "TCP 127.0.0.1:6061 from 127.0.0.1:6060"),
                  thing("socket", 4, "TCP listening at 127.0.0.1:6060")};
  CHECK(compare(before, after).leaks.size() == 3);
}

TEST_CASE("a heap call site is a leak from the limit on, its samples added up") {
  ProcessSnapshot before;
  ProcessSnapshot after;
  before.heap.emplace();
  after.heap.emplace();
  before.heap->push_back({.functions = {"f"}, .bytes = 500, .objects = 1});
  after.heap->push_back({.functions = {"f"}, .bytes = 900, .objects = 2});
  after.heap->push_back({.functions = {"f"}, .bytes = 599, .objects = 3});
  after.heap->push_back({.functions = {"g"}, .bytes = 999, .objects = 1});
  CHECK(compare(before, after).clean());
  after.heap->push_back({.functions = {"f"}, .bytes = 1, .objects = 1});
  REQUIRE(compare(before, after).leaks.size() == 1);
  CHECK(compare(before, after).leaks[0].title == "heap 0.0 MiB more in 5 more objects");
  CHECK(compare(before, after).leaks[0].name == "f");
}

TEST_CASE("heap stacks that differ only far from the allocation are one call site") {
  ProcessSnapshot before;
  ProcessSnapshot after;
  before.heap.emplace();
  after.heap.emplace();
  std::vector<std::string> functions(16, "handler");
  functions.emplace_back("first request");
  after.heap->push_back({.functions = functions, .bytes = 600, .objects = 1});
  functions.back() = "later request";
  after.heap->push_back({.functions = functions, .bytes = 600, .objects = 1});
  REQUIRE(compare(before, after).leaks.size() == 1);
  CHECK(compare(before, after).leaks[0].title == "heap 0.0 MiB more in 2 more objects");
  after.heap->back().functions.front() = "another";
  CHECK(compare(before, after).leaks.empty());
}

TEST_CASE("a stuck report that is new is a leak") {
  ProcessSnapshot before;
  ProcessSnapshot after;
  before.stuck = {{.number = 1, .name = "GET /a", .what = "stuck for 6s"}};
  after.stuck = {{.number = 1, .name = "GET /a", .what = "stuck for 9s"},
                 {.number = 2, .name = "GET /b", .what = "stuck for 5s"}};
  CHECK(titles(compare(before, after)) ==
        std::vector<std::string>{"stuck report 2 \"GET /b\" stuck for 5s"});
}

AllowEntry entry(std::string kind, AllowField field, std::string pattern, std::size_t line) {
  return {.kind = std::move(kind),
          .field = field,
          .pattern = std::move(pattern),
          .last_day = 2027y / 1 / 1,
          .reason = "because <it> is",
          .line = line};
}

TEST_CASE("the allow-list allows by name, function and creator, of its kind only") {
  const ProcessSnapshot before;
  ProcessSnapshot after;
  after.things = {thing("thread", 1, "pool-1")};
  after.things[0].functions = {"wait", "run"};
  after.things[0].created_functions = {"start"};
  const auto allowed = [&](const AllowEntry& allow) {
    return compare(before, after, {allow}).clean();
  };
  CHECK(allowed(entry("thread", AllowField::kName, "pool-*", 1)));
  CHECK(allowed(entry("any", AllowField::kFunction, "run", 1)));
  CHECK(allowed(entry("thread", AllowField::kCreated, "start", 1)));
  CHECK_FALSE(allowed(entry("task", AllowField::kName, "pool-*", 1)));
  CHECK_FALSE(allowed(entry("thread", AllowField::kName, "pool", 1)));
  CHECK_FALSE(allowed(entry("thread", AllowField::kFunction, "start", 1)));
  CHECK_FALSE(allowed(entry("thread", AllowField::kCreated, "run", 1)));
}

TEST_CASE("the reports name leaks, what was allowed and why, and what nobody could look at") {
  const ProcessSnapshot before;
  ProcessSnapshot after;
  after.things = {thing("thread", 7, "wor<k>\x01"), thing("socket", 8, "TCP, not connected")};
  after.things[0].stack = "[sleep]\nf(...)\n\ta.cc:1 +0x1\n";
  after.things[0].created = "g(...)\n\tb.cc:2 +0x2\n";
  after.missing = {"timers: no such file"};
  CheckReport report{.target = "127.0.0.1:6060", .drive = "20 x GET /x", .took = 1500ms};
  report.comparison = compare(before, after,
                              {entry("socket", AllowField::kName, "TCP*", 4),
                               entry("heap", AllowField::kName, "never", 5)});
  const std::string text = report_text(report);
  CHECK(text.starts_with("1 leak at 127.0.0.1:6060 after 20 x GET /x: 1 thread\n"));
  CHECK(text.find("created by:\ng(...)\n\tb.cc:2 +0x2\nnow [sleep]\nf(...)") != std::string::npos);
  CHECK(text.find("allowed by line 4 (because <it> is): socket 8") != std::string::npos);
  CHECK(text.find("allow-list line 5 was not needed: heap name=\"never\" until 2027-01-01: ") !=
        std::string::npos);
  CHECK(text.find("not looked at: timers: no such file") != std::string::npos);
  const std::string junit = report_junit(report);
  CHECK(junit.find("tests=\"8\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"1.500\"") !=
        std::string::npos);
  CHECK(junit.find("wor&lt;k&gt;") != std::string::npos);
  CHECK(junit.find('\x01') == std::string::npos);
  CHECK(junit.find("<skipped message=\"timers: no such file\"/>") != std::string::npos);
  const std::string json = report_json(report);
  CHECK(json.find("\"result\":\"leaks\"") != std::string::npos);
  CHECK(json.find("wor<k>\\u0001") != std::string::npos);
  CHECK(json.find("\"line\":4,\"reason\":\"because <it> is\"") != std::string::npos);
  report.comparison = compare(before, before);
  CHECK(report_text(report) == "no leaks at 127.0.0.1:6060 after 20 x GET /x\n");
  CHECK(report_json(report).find("\"result\":\"clean\"") != std::string::npos);
  CHECK(report_junit(report).find("failures=\"0\" errors=\"0\" skipped=\"0\"") !=
        std::string::npos);
}

}  // namespace
}  // namespace vigil::leakwatch
