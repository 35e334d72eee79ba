// The listeners of Catch2 and GoogleTest: programs with tests that leak, run as a user runs them.

#include <fstream>
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/subprocess.h"

namespace vigil::test {
namespace {

struct Program {
  std::string name;
  std::string path;
};

// One a line, "NAME PATH", written by CMake: which there are depends on what is installed.
std::vector<Program> programs() {
  std::vector<Program> all;
  std::ifstream list(VIGIL_LISTENER_PROGRAMS);
  for (Program program; list >> program.name >> program.path;) all.push_back(program);
  return all;
}

bool contains(const Finished& finished, const std::string& text) {
  return (finished.out + finished.err).find(text) != std::string::npos;
}

const std::vector<std::string> kKinds = {"thread", "task", "file", "socket", "timer", "process"};

Finished run_test(const Program& program, const std::string& verb, const std::string& kind) {
  if (program.name.starts_with("googletest")) {
    const std::string test = verb == "leaks" ? "Leaks" : "Ends";
    return run({program.path, "--gtest_filter=All/EachKind." + test + "/" + kind});
  }
  return run({program.path, verb + " a " + kind});
}

// How the report names what leaked.
std::string reported_kind(const std::string& kind) {
  if (kind == "file") return "descriptor";
  return kind == "process" ? "child process" : kind;
}

TEST_CASE("a test that leaks fails under each listener, with both stacks") {
  REQUIRE(programs().size() >= 3);
  for (const Program& program : programs()) {
    const bool knows_creators = !program.name.ends_with("plain");
    for (const std::string& kind : kKinds) {
      const Finished finished = run_test(program, "leaks", kind);
      INFO(program.name << ", " << kind << ": " << finished.out << finished.err);
      CHECK(finished.signal == 0);
      CHECK(finished.exit_status != 0);
      CHECK(contains(finished, "leaked: " + reported_kind(kind) + " "));
      CHECK(contains(finished, "1 thing began in this test and did not end"));
      // Catch2 breaks long lines; the functions' last words stay whole.
      if (knows_creators && kind != "task") {
        CHECK(contains(finished, "leaky_begin_" + kind));
      }
      if (!knows_creators) CHECK(contains(finished, "link vigil::creation_stacks"));
      if (kind == "thread") CHECK(contains(finished, "leaky_thread_waits"));
    }
  }
}

TEST_CASE("its twin passes under each listener, and nothing is printed about it") {
  for (const Program& program : programs()) {
    for (const std::string& kind : kKinds) {
      const Finished finished = run_test(program, "ends", kind);
      INFO(program.name << ", " << kind << ": " << finished.out << finished.err);
      CHECK(finished.exit_status == 0);
      CHECK_FALSE(contains(finished, "leaked"));
    }
  }
}

TEST_CASE(
    "a leak fails its own test only, each run through the sections is one, and ignoring works") {
  for (const Program& program : programs()) {
    INFO(program.name);
    if (program.name.starts_with("googletest")) {
      const Finished all = run({program.path, "--gtest_filter=-*/spawned:*/zombie"});
      CHECK(contains(all, "[  PASSED  ] 17 tests."));
      CHECK(contains(all, "15 FAILED TESTS"));
      CHECK(run({program.path, "--gtest_filter=Fixture.*:Ignoring.*"}).exit_status == 0);
      continue;
    }
    const Finished sections = run({program.path, "leaks in its second section"});
    INFO(sections.out);
    // Version 2 counts the failed assertions; 3 says 42 for any.
    const bool counts = program.name != "catch2-3";
    CHECK(sections.exit_status == (counts ? 1 : 42));
    CHECK(contains(sections, "assertions: 1 | 1 failed"));
    CHECK(run({program.path, "ignores a leak by ignore_current"}).exit_status == 0);
    // Both failures of one test are counted, and the tests around it are not touched.
    const Finished all = run({program.path});
    CHECK(contains(all, "test cases: 15 |"));
    CHECK(contains(all, "7 passed"));
    CHECK(contains(all, "8 failed"));
    CHECK(all.exit_status == (counts ? 9 : 42));
    const Finished junit = run({program.path, "--reporter", "junit"});
    CHECK(contains(junit, "failures=\"9\""));
  }
}

}  // namespace
}  // namespace vigil::test
