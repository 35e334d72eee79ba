// P8.4: what becomes of the agent in the processes that an armed one makes; and ports.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "tests/integration/agent/preloaded.h"
#include "tests/integration/process_facts.h"
#include "tests/support/catch.h"
#include "tests/support/go_pprof.h"

using namespace std::chrono_literals;
using namespace vigil::test;  // NOLINT: a test

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

int number_behind(const std::string& text, const std::string& word) {
  return std::stoi(text.substr(text.find(word) + word.size()));
}

struct Killed {
  int pid;
  ~Killed() { ::kill(pid, SIGKILL); }
};

}  // namespace

TEST_CASE("P8.4 a forked child is quiet: no thread, no descriptor, no port, no sampling") {
  Preloaded program({"fork"}, {{"VIGIL_HEAP_SAMPLE", "1024"}, {"VIGIL_CONTENTION_RATE", "1ns"}});
  const std::string at = "child has ";
  REQUIRE(program.process().wait_for_out(at));
  const std::string said = program.process().out();
  const Killed child{number_behind(said, "child ")};
  const std::size_t alone = descriptor_count(program.process().pid());
  CHECK(has(said, "child has 1 threads, " + std::to_string(alone + 1) +
                      " descriptors"));  // + the listing's own
  // The parent's port is its alone: with it gone, nobody holds it.
  const auto debug = program.debug();
  CHECK(program.get("/debug/pprof/cmdline").status == 200);
  program.process().kill(SIGKILL);
  program.process().wait(0s);  // not for its pipes' end: the child has them too
  CHECK(http_get(debug, "/debug/pprof/cmdline").status == 0);
  CHECK(thread_count(child.pid) == 1);
}

TEST_CASE("P8.4 VIGIL_FOLLOW_FORK=1 gives the child an agent on a port of its own") {
  Preloaded program({"fork"}, {{"VIGIL_FOLLOW_FORK", "1"}});
  REQUIRE(program.process().wait_for_out("child has "));
  const Killed child{number_behind(program.process().out(), "child ")};
  REQUIRE(program.process().wait_for_err("[" + std::to_string(child.pid) + "]: debug pages at"));
  const auto debug = address_in(program.process().err(), child.pid);
  CHECK(debug.port != program.debug().port);
  const std::string dump = http_get(debug, "/debug/pprof/goroutine?debug=2").body;
  CHECK(has(dump, "goroutine " + std::to_string(child.pid) + " "));
  CHECK(has(dump, "fork_once"));
  CHECK(http_get(debug, "/debug/pprof/profile?seconds=1").status == 200);
  CHECK(has(program.get("/debug/pprof/goroutine?debug=2").body,
            "goroutine " + std::to_string(program.process().pid()) + " "));
}

TEST_CASE("P8.4 a program that an armed one starts stays out, one that it becomes does not") {
  const Finished started =
      Subprocess({"sh", "-c", std::string(kTargetProgram) + " facts; true"}, armed()).wait();
  CHECK(has(started.err, "sh["));
  CHECK_FALSE(has(started.err, "agent-target["));
  CHECK(has(started.out, "1 threads"));

  Subprocess becoming({kTargetProgram, "exec"}, armed());
  REQUIRE(becoming.wait_for_out("waiting"));
  const std::string line = "agent-target[" + std::to_string(becoming.pid()) + "]: debug pages at";
  CHECK(becoming.wait_for_err(line, 2));
}

TEST_CASE("P8.4 VIGIL_PROGRAM picks the program among those that a script starts") {
  Subprocess script({"sh", "-c", std::string(kTargetProgram) + " wait; true"},
                    armed({{"VIGIL_PROGRAM", "nginx,agent-target"}}));
  REQUIRE(script.wait_for_err("debug pages at"));
  CHECK(has(script.err(), "agent-target["));
  CHECK_FALSE(has(script.err(), "sh["));
  const Killed target{number_behind(script.err(), "agent-target[")};
}

TEST_CASE("P8.4 a storm of vfork, fork and posix_spawn with exec, profiled all the while") {
  const std::string follow = GENERATE("0", "1");
  Preloaded program({"storm", "600"}, {{"VIGIL_FOLLOW_FORK", follow}});
  (void)program.get("/debug/pprof/profile?seconds=1&hz=250");
  (void)program.get("/debug/pprof/goroutine?debug=2");
  const Finished ended = program.process().wait();
  CHECK(ended.signal == 0);
  CHECK(ended.exit_status == 0);
}

TEST_CASE("P8.4 a taken port: the next one, any, or none, and the program runs on") {
  Preloaded first({"wait"});
  const std::string taken = vigil::format_host_port(first.debug());
  SECTION("next is the default") {
    Preloaded second({"wait"}, {{"VIGIL_LISTEN", taken}});
    CHECK(second.debug().port > first.debug().port);
    CHECK(second.debug().port < first.debug().port + 20);
    CHECK(second.get("/debug/pprof/").status == 200);
  }
  SECTION("any") {
    Preloaded second({"wait"}, {{"VIGIL_LISTEN", taken}, {"VIGIL_PORT_TAKEN", "any"}});
    CHECK(second.debug().port != first.debug().port);
    CHECK(second.get("/debug/pprof/").status == 200);
  }
  SECTION("fail") {
    const Finished ended =
        Subprocess({kTargetProgram, "exceptions"},
                   armed({{"VIGIL_LISTEN", taken}, {"VIGIL_PORT_TAKEN", "fail"}}))
            .wait();
    CHECK(ended.exit_status == 0);
    CHECK(has(ended.err, "runs without the agent: cannot start the debug listener"));
    CHECK(has(ended.out, "handler called"));
  }
}

TEST_CASE("P8.4 a Unix socket of each process's own") {
  const TemporaryFolder folder;
  const std::string path = folder.path / "agent-";
  Subprocess program({kTargetProgram, "fork"},
                     armed({{"VIGIL_LISTEN", "unix:" + path + "%p"}, {"VIGIL_FOLLOW_FORK", "1"}}));
  REQUIRE(program.wait_for_out("child has "));
  const Killed child{number_behind(program.out(), "child ")};
  for (const int pid : {static_cast<int>(program.pid()), child.pid}) {
    const std::string number = std::to_string(pid);
    REQUIRE(program.wait_for_err("debug pages at unix:" + path + number));
    const Finished dump = run({"curl", "-s", "--unix-socket", path + number,
                               "http://localhost/debug/pprof/goroutine?debug=2"});
    CHECK(has(dump.out, "goroutine " + number + " "));
  }
}

TEST_CASE("P8.4 a variable that makes no sense is one line, and the program runs on") {
  for (const auto& [name, value] :
       std::multimap<std::string, std::string>{{"VIGIL_LISTEN", "localhost"},
                                               {"VIGIL_LISTEN", "0.0.0.0:6060"},
                                               {"VIGIL_PORT_TAKEN", "maybe"},
                                               {"VIGIL_STUCK_AFTER", "soon"},
                                               {"VIGIL_LOG", "here"}}) {
    const Finished ended =
        Subprocess({kTargetProgram, "exceptions"}, armed({{name, value}})).wait();
    INFO(name);
    CHECK(ended.exit_status == 0);
    CHECK(has(ended.out, "handler called"));
    CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
    CHECK(has(ended.err, "vigil: "));
  }
}
