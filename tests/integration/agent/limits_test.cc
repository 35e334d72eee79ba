// P8.3: programs that make it hard to be in them.
#include <signal.h>

#include <string>
#include <vector>

#include "tests/integration/agent/preloaded.h"
#include "tests/integration/process_facts.h"
#include "tests/support/catch.h"
#include "tests/support/eventually.h"
#include "tests/support/go_pprof.h"

using namespace vigil::test;  // NOLINT: a test

namespace {

constexpr const char* kDump = "/debug/pprof/goroutine?debug=2";

// `words…` of agent-target in a shell that first says `limits`.
std::vector<std::string> limited(const std::string& limits, const std::string& words) {
  return {"bash", "-c", limits + "; exec " + kTargetProgram + " " + words};
}

Environment only_the_target(Environment more = {}) {
  more["VIGIL_PROGRAM"] = "agent-target";
  return armed(std::move(more));
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("P8.3 RLIMIT_NOFILE=10: the program keeps its ten, and the agent answers with its own") {
  const auto opened_by = [](const Environment& environment) {
    return Subprocess(limited("exec 3>&- 4>&- 10>&-; ulimit -n 10", "open-many"), environment)
        .wait()
        .out;
  };
  const std::string alone = opened_by({});
  CHECK(has(alone, "opened "));
  CHECK(opened_by(only_the_target()) == alone);

  Subprocess program(limited("ulimit -n 10", "close-all"), only_the_target());
  REQUIRE(program.wait_for_out("closed"));
  const auto debug = address_in(program.err());
  CHECK(http_get(debug, "/debug/pprof/").status == 200);
  // Modules' files take turns (symbolizer.h): what one page has opened is not missing for the next.
  for (int turn = 0; turn < 2; ++turn) {
    // One that comes while the agent's other threads have what there is has addresses.
    CHECK(eventually([&] { return has(http_get(debug, kDump).body, "close_all"); }));
    CHECK(http_get(debug, "/debug/pprof/profile?seconds=1").status == 200);
    CHECK(http_get(debug, "/debug/pprof/heap").status == 200);
    CHECK(http_get(debug, "/debug/maps").status == 200);
  }
}

TEST_CASE("P8.3 RLIMIT_NOFILE=40 is enough for every page, whatever the program uses up") {
  Subprocess program(limited("ulimit -n 40", "close-all"), only_the_target());
  REQUIRE(program.wait_for_out("closed"));  // it has taken all numbers for itself
  const auto debug = address_in(program.err());
  CHECK(has(http_get(debug, kDump).body, "close_all"));
  CHECK(http_get(debug, "/debug/pprof/profile?seconds=1").status == 200);
  CHECK(http_get(debug, "/debug/pprof/heap").status == 200);
}

TEST_CASE("P8.3 RLIMIT_AS=300 MB: the program runs without the agent, which says so") {
  Subprocess program(limited("ulimit -v 300000", "exceptions"), only_the_target());
  const Finished ended = program.wait();
  CHECK(ended.exit_status == 0);
  CHECK(has(ended.err, "runs without the agent: the process may have 292 MiB of address space"));
  // With 4 GiB there is one.
  Subprocess roomy(limited("ulimit -v 4000000", "wait"), only_the_target());
  CHECK(roomy.wait_for_err("debug pages at"));
}

TEST_CASE("P8.3 RLIMIT_NPROC: the program runs without the agent, which says so") {
  std::vector<std::string> command = {"bash", "-c",
                                      "ulimit -u 1; exec /usr/bin/python3 -c 'print(7)'"};
  // Root has no limit; another user has.
  if (::getuid() == 0) {
    command.insert(command.begin(), {"setpriv", "--reuid", "65534", "--clear-groups"});
  }
  const Finished ended = Subprocess(command, armed({{"VIGIL_PROGRAM", "python3"}})).wait();
  CHECK(ended.exit_status == 0);
  CHECK(ended.out == "7\n");
  CHECK(has(ended.err, "runs without the agent: no thread for the agent"));
}

TEST_CASE(
    "an armed program that does nothing has at most 8 MiB more in memory, and its pages come "
    "back") {
  Subprocess alone({kTargetProgram, "wait"});
  REQUIRE(alone.wait_for_out("waiting"));
  Preloaded program({"wait"});
  REQUIRE(program.process().wait_for_out("waiting"));
  const std::size_t more = resident_bytes(program.process().pid()) - resident_bytes(alone.pid());
  CHECK(more < 8 * 1024 * 1024);
  // What was let go of after the start (agent/preload/start_pages.h) is code that pages run.
  CHECK(has(program.get(kDump).body, "wait_for_the_end"));
  CHECK(program.get("/debug/bundle?seconds=1").status == 200);
}

TEST_CASE("P8.3 closed standard streams, closefrom and dup2 over everything: the agent answers") {
  Preloaded program({"close-all"});
  REQUIRE(program.process().wait_for_out("closed"));
  for (int i = 0; i < 3; ++i) CHECK(has(program.get(kDump).body, "close_all"));
  CHECK(program.get("/debug/pprof/profile?seconds=1").status == 200);
  CHECK(program.get("/metrics").status == 200);

  const TemporaryFolder folder;
  const std::string log = folder.path / "log";
  Subprocess mute({"bash", "-c", std::string(kTargetProgram) + " spin 60 <&- >&- 2>&-"},
                  armed({{"VIGIL_PROGRAM", "agent-target"}, {"VIGIL_LOG", log}}));
  const auto debug = address_in(read_until(log, "debug pages at"));
  CHECK(has(http_get(debug, kDump).body, "target_spins"));
}

TEST_CASE("P8.3 a daemon keeps its agent, at the same address") {
  const std::string way = GENERATE(as<std::string>(), "daemonize", "daemon");
  const TemporaryFolder folder;
  const std::string log = folder.path / "log";
  const std::string number = folder.path / "number";
  Subprocess program({kTargetProgram, way, number}, armed({{"VIGIL_LOG", log}}));
  const int first = program.pid();
  CHECK(program.wait().exit_status == 0);
  const int daemon = std::stoi(read_until(number, "\n"));
  struct Killed {
    int pid;
    ~Killed() { ::kill(pid, SIGKILL); }
  } const killed{daemon};
  const std::string said = read_until(log, "[" + std::to_string(daemon) + "]: debug pages at");
  const auto debug = address_in(said, daemon);
  REQUIRE(debug.port != 0);
  CHECK(has(http_get(debug, kDump).body, "wait_for_the_end"));
  // VIGIL_LISTEN=127.0.0.1:0 says that any port will do; what the first process had is free again.
  CHECK(first != daemon);
}

TEST_CASE("P8.3 PR_SET_DUMPABLE=0: the agent answers, and samples") {
  Preloaded program({"not-dumpable"});
  REQUIRE(program.process().wait_for_out("hidden"));
  CHECK(has(program.get(kDump).body, "wait_for_the_end"));
  const Finished top = go_pprof({"-top", "http://" + vigil::format_host_port(program.debug()) +
                                             "/debug/pprof/profile?seconds=1"});
  CHECK(has(top.out, "target_spins"));
}

TEST_CASE("P8.3 a thread under strict seccomp lives on under dumps and profiles") {
  Preloaded program({"strict"});
  REQUIRE(program.process().wait_for_out("alive"));
  for (int i = 0; i < 5; ++i) {
    CHECK(program.get(kDump).status == 200);
    program.process().kill(SIGUSR1);
    CHECK(program.get("/debug/pprof/profile?seconds=1&hz=250").status == 200);
  }
  CHECK(program.process().wait_for_out("alive", 6));
  CHECK(thread_count(program.process().pid()) >= 2);
}

TEST_CASE(
    "P8.3 all signals blocked: the dump shows the thread, and the profile says who is not in it") {
  Preloaded program({"block-signals"});
  REQUIRE(program.process().wait_for_out("blocked"));
  CHECK(has(program.get(kDump).body, "goroutine " + std::to_string(program.process().pid())));
  const Finished raw = go_pprof({"-raw", "http://" + vigil::format_host_port(program.debug()) +
                                             "/debug/pprof/profile?seconds=1"});
  CHECK(has(raw.out, "threads_blocking_signal=1"));
}

TEST_CASE("P8.3 a process whose first thread has left answers, and ends with its last thread") {
  Preloaded program({"leave-main"});
  REQUIRE(program.process().wait_for_out("main has left"));
  const std::string dump = program.get(kDump).body;
  INFO(dump);
  CHECK(has(dump, "leave_main"));
  program.process().kill(SIGUSR1);
  const Finished ended = program.process().wait(std::chrono::seconds(10));
  CHECK(ended.signal == 0);
  CHECK(ended.exit_status == 0);
  CHECK(has(ended.out, "the last thread ends"));
}

TEST_CASE("P8.3 the program's exceptions, new-handler and uncaught count are its own") {
  const Finished without = Subprocess({kTargetProgram, "exceptions"}).wait();
  const Finished with = Subprocess({kTargetProgram, "exceptions"}, armed()).wait();
  CHECK(without.exit_status == 0);
  CHECK(with.exit_status == 0);
  CHECK(with.out == without.out);
}

TEST_CASE("P8.3 a program built with AddressSanitizer runs, its runtime before the agent") {
  const TemporaryFolder folder;
  const std::string source = folder.path / "asan.cc";
  const std::string program = folder.path / "asan-target";
  run({"bash", "-c",
       "echo '#include <vector>\n#include <cstdio>\nint main(int n, char**) { std::vector<int> "
       "v(100); "
       "std::puts(\"made\"); return n > 1 ? v.data()[100] : 0; }' > " +
           source});
  REQUIRE(run({"g++", "-fsanitize=address", "-g", source, "-o", program}).exit_status == 0);
  const std::string runtime = run({"g++", "-print-file-name=libasan.so"}).out;
  const std::string both = runtime.substr(0, runtime.find('\n')) + ":" + kAgentLibrary;
  const Finished fine = Subprocess({program}, armed({{"LD_PRELOAD", both}})).wait();
  CHECK(fine.exit_status == 0);
  CHECK(has(fine.out, "made"));
  CHECK(has(fine.err, "debug pages at"));
  const Finished wrong = Subprocess({program, "x"}, armed({{"LD_PRELOAD", both}})).wait();
  CHECK(has(wrong.err, "heap-buffer-overflow"));
}
