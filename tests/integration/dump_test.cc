// The task dump, taken from a real server with curl's eyes.

#include <regex>

#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

const std::string kDump = "/debug/pprof/goroutine?debug=2";

TEST_CASE(
    "200 stuck handlers are all in the dump, with stack, route and age, while others are served") {
  Demo demo;
  Background stuck(demo.address(), "/stuck", 200);
  demo.debug_get_until("/debug/tasks", "tasks: 200 live");

  const std::string dump = demo.debug_get(kDump).body;
  const auto begin = std::chrono::steady_clock::now();
  const HttpAnswer hello = demo.get("/hello");
  const auto hello_took = std::chrono::steady_clock::now() - begin;
  const HttpAnswer released = demo.post("/release");
  std::size_t ok = 0;
  for (const HttpAnswer& answer : stuck.join()) ok += answer.status == 200 ? 1 : 0;

  CHECK(count_of(dump, "\ndemo::wait_forever(...)\n") == 200);
  const std::regex header(
      R"((^|\n)goroutine \d+ \[futex wait, labels:\{"method":"GET","route":"/stuck"\}\]:\n)");
  CHECK(std::distance(std::sregex_iterator(dump.begin(), dump.end(), header), {}) == 200);
  const std::regex detail(R"(\n# task \d+: GET /stuck, age [0-9.]+m?s, thread \d+ vigil-[a-z]+)");
  CHECK(std::distance(std::sregex_iterator(dump.begin(), dump.end(), detail), {}) == 200);
  CHECK(hello.body == "hello, world\n");
  CHECK(hello_took < 500ms);
  CHECK(released.body == "released 200\n");
  CHECK(ok == 200);
}

TEST_CASE("200 dumps in a row interrupt none of 50 sleeping handlers") {
  Demo demo;
  Background sleepers(demo.address(), "/sleep?ms=5000", 50);
  demo.debug_get_until("/debug/tasks", "tasks: 50 live");
  std::size_t dumps_with_all = 0;
  for (int i = 0; i < 200; ++i) {
    dumps_with_all +=
        count_of(demo.debug_get(kDump).body, "demo::wait_upstream(...)") == 50 ? 1 : 0;
  }
  std::size_t uninterrupted = 0;
  for (const HttpAnswer& answer : sleepers.join()) {
    uninterrupted += answer.body == "slept 5000 ms\n" ? 1 : 0;
  }
  CHECK(uninterrupted == 50);
  // Sleepers leave after 5 s; most dumps are done by then, and each of those shows all of them.
  CHECK(dumps_with_all >= 20);
}

TEST_CASE("the dump also shows threads without a task, the one that serves it included") {
  Demo demo;
  const std::string dump = demo.debug_get(kDump).body;
  CHECK(dump.find("# thread") != std::string::npos);
  CHECK(dump.find("epoll wait") != std::string::npos);
  CHECK(dump.find("vigil::endpoints::goroutine_page") != std::string::npos);
  CHECK(dump.find("vigil-watchdog") != std::string::npos);
}

TEST_CASE("debug=1 groups equal stacks with their route") {
  Demo demo;
  Background stuck(demo.address(), "/stuck", 20);
  demo.debug_get_until("/debug/tasks", "tasks: 20 live");
  const std::string text = demo.debug_get("/debug/pprof/goroutine?debug=1").body;
  demo.post("/release");
  stuck.join();
  CHECK(text.find("goroutine profile: total ") == 0);
  // Handlers that were entered by different paths of the engine are different stacks: their counts
  // add up.
  const std::regex group(
      R"(\n(\d+) @( 0x[0-9a-f]+)+\n# labels: \{"method":"GET", "route":"/stuck"\}\n)");
  int stuck_in_groups = 0;
  for (std::sregex_iterator match(text.begin(), text.end(), group), end; match != end; ++match) {
    stuck_in_groups += std::stoi((*match)[1]);
  }
  CHECK(stuck_in_groups == 20);
}

}  // namespace
}  // namespace vigil::test
