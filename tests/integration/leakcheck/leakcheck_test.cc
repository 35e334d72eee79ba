// vigil-leakcheck against the demo: it finds each kind of leak, is clean where nothing leaks, and
// says what it could not check.

#include <signal.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"
#include "tests/support/subprocess.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

const std::string kProgram = VIGIL_LEAKCHECK_PROGRAM;

// Runs vigil-leakcheck; its self-test and a settle time of two seconds fit well into the limit.
Finished leakcheck(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), kProgram);
  return run(std::move(arguments), 100s);
}

std::vector<std::string> against(const Demo& demo, std::vector<std::string> more) {
  std::vector<std::string> arguments = {"--debug=" + format_host_port(demo.debug()),
                                        "--target=" + format_host_port(demo.address()),
                                        "--settle=2s", "--repeat=5"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

bool contains(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

struct DemoLeak {
  std::string kind;       // of /leave/{kind}
  std::string summary;    // of the first line
  std::string paragraph;  // what its stack or name shows
};

TEST_CASE("each kind of leak of the demo is found, and counted once for each request") {
  const Demo demo;
  for (const DemoLeak& leak :
       std::vector<DemoLeak>{{"thread", ": 5 thread\n", "vigil::leakcheck::wait_for_ever"},
                             {"descriptor", ": 5 descriptor\n", "/dev/null"},
                             {"socket", ": 5 socket\n", "TCP 0.0.0.0:0, not connected"},
                             {"timer", ": 5 timer\n", "timer "},
                             {"process", ": 5 child process\n", "nobody has waited for it"}}) {
    const Finished finished = leakcheck(against(demo, {"--get=/leave/" + leak.kind}));
    INFO(leak.kind << ": " << finished.out << finished.err);
    CHECK(finished.exit_status == 1);
    CHECK(contains(finished.out,
                   "5 leaks at " + format_host_port(demo.debug()) + " after 5 x GET /leave/"));
    CHECK(contains(finished.out, leak.summary));
    CHECK(contains(finished.out, leak.paragraph));
    CHECK(finished.err.empty());
  }
}

TEST_CASE("heap is found by its call site") {
  const Demo demo;
  const Finished finished = leakcheck(against(demo, {"--get=/leave/heap", "--repeat=20"}));
  INFO(finished.out << finished.err);
  if (contains(finished.out, "not looked at: heap: ")) {
    WARN("no tcmalloc in this build");
    CHECK(finished.exit_status == 0);
    return;
  }
  CHECK(finished.exit_status == 1);
  CHECK(contains(finished.out, ": 1 heap\n"));
  CHECK(contains(finished.out, "vigil::leakcheck::keep_memory"));
}

TEST_CASE("a handler that never ends is a task, its socket and a stuck report") {
  const Demo demo({"--stuck-after=100ms"});
  const Finished finished =
      leakcheck(against(demo, {"--get=/stuck", "--warm-up=0", "--request-timeout=1s"}));
  INFO(finished.out << finished.err);
  CHECK(finished.exit_status == 1);
  CHECK(contains(finished.out, "1 task"));
  CHECK(contains(finished.out, "1 stuck"));
  CHECK(contains(finished.out, "demo::wait_forever"));
  CHECK_FALSE(contains(finished.out, "1 thread"));
  CHECK(demo.post("/release").status == 200);
}

TEST_CASE("the demo's clean routes are clean, again and again") {
  const Demo demo;
  for (int round = 0; round < 5; ++round) {
    const Finished finished =
        leakcheck(against(demo, {"--get=/hello", "--get=/echo", "--post=/echo", "--get=/sleep?ms=5",
                                 "--get=/lock?ms=1", "--get=/churn?n=10000", "--get=/big?n=1000000",
                                 "--get=/slow?ms=5", "--settle=20s"}));
    INFO(finished.out << finished.err);
    CHECK(finished.exit_status == 0);
    CHECK(contains(finished.out, "no leaks at "));
  }
}

TEST_CASE("it launches the server, runs a command, and stops the server") {
  const TemporaryFolder folder;
  const std::string launch = std::string(kDemoProgram) + " --listen={target} --debug={debug} >" +
                             (folder.path / "out").string();
  const std::string get =
      "for i in 1 2 3; do curl -sS -o /dev/null http://$(sed -n "
      "'s/^listening on //p' " +
      (folder.path / "out").string() + " | head -1)";
  const Finished clean =
      leakcheck({"--launch=" + launch, "--", "sh", "-c", get + "/hello || exit 3; done"});
  INFO(clean.out << clean.err);
  CHECK(clean.exit_status == 0);
  CHECK(contains(clean.out, "after \"sh\""));
  const Finished leaks = leakcheck({"--launch=" + launch, "--settle=1s", "--", "sh", "-c",
                                    get + "/leave/timer || exit 3; done"});
  INFO(leaks.out << leaks.err);
  CHECK(leaks.exit_status == 1);
  CHECK(contains(leaks.out, ": 3 timer"));
  // It is gone: nothing answers where it was.
  const std::string first = text_of(folder.path / "out");
  const std::string address = first.substr(13, first.find('\n') - 13);
  CHECK(http_get(*parse_host_port(address), "/hello", 1s).status == 0);
}

TEST_CASE(
    "the allow-list allows with a reason, and a bad or expired line is status 2 with its place") {
  const Demo demo;
  const TemporaryFolder folder;
  const std::string file = (folder.path / "allow").string();
  write(file,
        "# known\ntimer name=* until 2199-12-31: TICKET-1\nheap name=x until 2199-12-31: y\n");
  const auto run_with_list = [&] {
    return leakcheck(against(demo, {"--get=/leave/timer", "--allow=" + file}));
  };
  const Finished allowed = run_with_list();
  INFO(allowed.out << allowed.err);
  CHECK(allowed.exit_status == 0);
  CHECK(contains(allowed.out, "allowed by line 2 (TICKET-1): timer "));
  CHECK(contains(allowed.out, "allow-list line 3 was not needed"));
  write(file, "\ntimer name=* until 2020-01-01: TICKET-1\n");
  const Finished expired = run_with_list();
  CHECK(expired.exit_status == 2);
  CHECK(expired.err == "vigil-leakcheck: " + file + ":2: expired on 2020-01-01: TICKET-1\n");
  write(file, "timer name=*\n");
  const Finished wrong = run_with_list();
  CHECK(wrong.exit_status == 2);
  CHECK(wrong.err ==
        "vigil-leakcheck: " + file + ":1: after the pattern comes \"until YYYY-MM-DD:\"\n");
  const Finished none = leakcheck(against(demo, {"--get=/hello", "--allow=" + file + "x"}));
  CHECK(none.exit_status == 2);
  CHECK(none.err == "vigil-leakcheck: " + file + "x: cannot be read\n");
}

TEST_CASE("JUnit and JSON say the same as the text") {
  const Demo demo;
  const TemporaryFolder folder;
  const std::string junit = (folder.path / "leaks.xml").string();
  const std::string json = (folder.path / "leaks.json").string();
  const Finished finished =
      leakcheck(against(demo, {"--get=/leave/descriptor", "--junit=" + junit, "--json=" + json}));
  CHECK(finished.exit_status == 1);
  // Other programs' parsers read them.
  const Finished read =
      run({"python3", "-c",
           "import json, sys, xml.etree.ElementTree as e\n"
           "suite = e.parse(sys.argv[1]).getroot()[0]\n"
           "failed = [case.get('name') for case in suite if case.find('failure') is not None]\n"
           "print(suite.get('tests'), suite.get('failures'), failed)\n"
           "report = json.load(open(sys.argv[2]))\n"
           "print(report['result'], len(report['leaks']), report['leaks'][0]['name'])\n",
           junit, json});
  INFO(read.err);
  CHECK(read.out == "8 1 ['no descriptor leaks']\nleaks 5 /dev/null\n");
  const Finished unwritable =
      leakcheck(against(demo, {"--get=/hello", "--junit=/nonexistent/leaks.xml"}));
  CHECK(unwritable.exit_status == 2);
  CHECK(unwritable.err == "vigil-leakcheck: /nonexistent/leaks.xml: cannot be written\n");
}

TEST_CASE("what could not be checked is status 2 with the address and the reason") {
  // Nothing listens on port 1.
  const Finished refused =
      leakcheck({"--debug=127.0.0.1:1", "--target=127.0.0.1:1", "--get=/hello"});
  CHECK(refused.exit_status == 2);
  CHECK(refused.err ==
        "vigil-leakcheck: GET http://127.0.0.1:1/debug/leakcheck: connect: Connection refused\n");
  const Demo demo;
  // The application's port is no debug listener.
  const Finished wrong =
      leakcheck({"--debug=" + format_host_port(demo.address()),
                 "--target=" + format_host_port(demo.address()), "--get=/hello"});
  CHECK(wrong.exit_status == 2);
  CHECK(contains(wrong.err, "status 404: is this a vigil debug listener?"));
  const Finished nothing = leakcheck(against(demo, {"--get=/no-such-route"}));
  CHECK(nothing.exit_status == 2);
  CHECK(contains(nothing.err, "status 404, so nothing was driven"));
  const Finished failed =
      leakcheck({"--debug=" + format_host_port(demo.debug()), "--", "sh", "-c", "exit 7"});
  CHECK(failed.exit_status == 2);
  CHECK(failed.err == "vigil-leakcheck: sh failed: exit status 7\n");
  const Finished ended = leakcheck({"--launch=exit 5", "--get=/hello"});
  CHECK(ended.exit_status == 2);
  CHECK(ended.err == "vigil-leakcheck: --launch: the server has ended: exit status 5\n");
}

// Of a server that --launch has started and that leaks while a signal comes.
struct Interrupted {
  Finished finished;
  bool server_ended = false;
};

Interrupted interrupted_by(int signal) {
  const TemporaryFolder folder;
  const std::string pid_file = (folder.path / "pid").string();
  Subprocess check({kProgram, "--settle=60s", "--repeat=1", "--get=/leave/thread",
                    "--launch=echo $$ >" + pid_file + ".new; mv " + pid_file + ".new " + pid_file +
                        "; exec " + kDemoProgram + " --listen={target} --debug={debug}"});
  // Both its ports: the server is up.
  (void)check.wait_for_err("listening on ", 2);
  const pid_t server = static_cast<pid_t>(std::stol(text_of(pid_file)));
  check.kill(signal);
  Interrupted result{check.wait(30s), false};
  result.server_ended = ::kill(server, 0) != 0 && errno == ESRCH;
  return result;
}

TEST_CASE("a signal ends the server that it has launched, and is status 2") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const Interrupted result = interrupted_by(signal);
    INFO("signal " << signal << ": " << result.finished.err);
    CHECK(result.finished.exit_status == 2);
    CHECK(contains(result.finished.err, "vigil-leakcheck: interrupted by a signal"));
    CHECK(result.finished.out.empty());
    CHECK(result.server_ended);
  }
}

TEST_CASE("what it starts has the signals of every other program") {
  const Demo demo;
  const std::string debug = "--debug=" + format_host_port(demo.debug());
  CHECK(leakcheck({debug, "--", "sh", "-c", "kill -PIPE $$"}).err ==
        "vigil-leakcheck: sh failed: signal 13\n");
  CHECK(leakcheck({debug, "--", "sh", "-c", "kill -TERM $$"}).err ==
        "vigil-leakcheck: sh failed: signal 15\n");
}

TEST_CASE("a server that is launched and never listens is status 2 with the time it had") {
  const Finished finished =
      leakcheck({"--launch=exec sleep 60", "--start-timeout=300ms", "--get=/hello"});
  CHECK(finished.exit_status == 2);
  CHECK(contains(finished.err, "--launch: no debug listener within 300ms: GET http://127.0.0.1:"));
  CHECK(contains(finished.err, "connect: Connection refused\n"));
}

TEST_CASE("a server that ends in the middle of the check is status 2") {
  const TemporaryFolder folder;
  const std::string second = (folder.path / "second").string();
  Demo demo;
  const Finished finished =
      leakcheck({"--debug=" + format_host_port(demo.debug()), "--", "sh", "-c",
                 "if [ -e " + second + " ]; then kill -9 " + std::to_string(demo.process().pid()) +
                     "; fi; touch " + second});
  CHECK(finished.exit_status == 2);
  CHECK(contains(finished.err, "/debug/leakcheck: "));
  CHECK(finished.out.empty());
}

TEST_CASE("it does not trust itself when its own child leaks unseen, or sees what is not there") {
  const Demo demo;
  const TemporaryFolder folder;
  const std::string fake = (folder.path / "child").string();
  const auto with_child = [&](const std::string& body) {
    write(fake, "#!/bin/sh\n" + body);
    std::filesystem::permissions(fake, std::filesystem::perms::owner_all);
    return leakcheck(against(demo, {"--get=/hello", "--self-test-program=" + fake}));
  };
  // Says that it has leaked, and has not: the word never reaches the real child.
  const Finished blind =
      with_child("sleep 60 | " + kProgram + " $1 &\nread -r line; echo leaked; cat >/dev/null\n");
  INFO(blind.err);
  CHECK(blind.exit_status == 2);
  CHECK(contains(blind.err, "the self-test failed: " + fake +
                                " leaked and this was not seen: task, thread, "));
  const Finished silent = with_child("exit 0\n");
  CHECK(silent.exit_status == 2);
  CHECK(silent.err == "vigil-leakcheck: the self-test failed: it ended\n");
}

TEST_CASE("a mistake in the command line is one line that names it, and status 2") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes = {
      {{"--get=/x"}, "--debug is missing"},
      {{"--debug=nowhere", "--get=/x"}, "--debug=nowhere: "},
      {{"--debug=127.0.0.1:1"}, "nothing to drive"},
      {{"--debug=127.0.0.1:1", "--get=/x"}, "--get and --post need --target"},
      {{"--debug=127.0.0.1:1", "--target=127.0.0.1:1", "--get=x"}, "--get=x: not a path"},
      {{"--debug=127.0.0.1:1", "--"}, "no command after --"},
      {{"--debug=auto", "--", "true"}, "--debug=auto goes with --launch"},
      {{"--debug=127.0.0.1:1", "--repeat=0", "--", "true"}, "--repeat=0: "},
      {{"--bogus"}, "unknown option --bogus"},
      {{"stray"}, "unexpected argument stray"},
  };
  for (const auto& [arguments, what] : mistakes) {
    const Finished finished = leakcheck(arguments);
    INFO(what << ": " << finished.err);
    CHECK(finished.exit_status == 2);
    CHECK(contains(finished.err, what));
    CHECK(count_of(finished.err, "\n") == 1);
    CHECK(finished.out.empty());
  }
  CHECK(leakcheck({"--help"}).exit_status == 0);
  CHECK(contains(leakcheck({"--help"}).out, "--allow=FILE"));
  CHECK(leakcheck({"--version"}).out.starts_with("vigil-leakcheck "));
}

TEST_CASE("progress is shown on a terminal once it takes more than 2 s, and nowhere else") {
  const Demo demo;
  const std::string debug = format_host_port(demo.debug());
  // script(1) gives it a terminal.
  const auto on_terminal = [&](const std::string& seconds) {
    return run(
        {"script", "-qec", kProgram + " --debug=" + debug + " -- sleep " + seconds, "/dev/null"});
  };
  const Finished slow = on_terminal("1.5");  // driven twice
  CHECK(slow.exit_status == 0);
  CHECK(contains(slow.out, " s: running sleep"));
  const Finished piped = leakcheck({"--debug=" + debug, "--", "sleep", "1.5"});
  CHECK(piped.exit_status == 0);
  CHECK(piped.err.empty());
}

}  // namespace
}  // namespace vigil::test
