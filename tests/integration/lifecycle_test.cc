// Start, flags and shutdown of a real server.

#include <atomic>
#include <csignal>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/eventually.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

Finished run_demo(const std::vector<std::string>& flags) {
  std::vector<std::string> command(1, kDemoProgram);
  command.insert(command.end(), flags.begin(), flags.end());
  return run(command, 10s);
}

TEST_CASE("a bad flag is one line that names it, and exit status 2") {
  for (const char* flag : {"--nope", "--stuck-after=5", "--listen=example.org:80",
                           "--max-header-bytes=1", "--connection-policy=maybe"}) {
    const Finished finished = run_demo({flag});
    INFO(flag << ": " << finished.err);
    CHECK(finished.exit_status == 2);
    CHECK(count_of(finished.err, "\n") == 1);
    const std::string name = std::string(flag).substr(0, std::string(flag).find('='));
    CHECK(finished.err.find(name) != std::string::npos);
    CHECK(finished.out.empty());
  }
}

TEST_CASE("--help and --version answer on stdout with status 0") {
  const Finished help = run_demo({"--help"});
  CHECK(help.exit_status == 0);
  CHECK(help.out.find("--max-connections-per-ip=N") != std::string::npos);
  CHECK(run_demo({"--version"}).out.find("vigil-demo ") == 0);
}

TEST_CASE("a debug address that other machines reach is refused, with the reason") {
  const Finished finished = run_demo({"--listen=127.0.0.1:0", "--debug=0.0.0.0:0"});
  CHECK(finished.exit_status == 1);
  CHECK(finished.err.find("0.0.0.0:0") != std::string::npos);
  CHECK(finished.err.find("other machines") != std::string::npos);
  CHECK(run_demo({"--listen=127.0.0.1:0", "--debug=[::]:0"}).exit_status == 1);
}

TEST_CASE("a port in use is an error that names it") {
  Demo first;
  const Finished second =
      run_demo({"--listen=" + format_host_port(first.address()), "--debug=127.0.0.1:0"});
  CHECK(second.exit_status == 1);
  CHECK(second.err.find(format_host_port(first.address())) != std::string::npos);
  CHECK(second.err.find("in use") != std::string::npos);
}

TEST_CASE("SIGTERM under load loses no accepted request and exits 0") {
  Demo demo({"--shutdown-timeout=5s"});
  std::atomic<int> good{0};
  std::atomic<int> cut{0};
  std::atomic<bool> refused{false};
  std::vector<std::thread> clients;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([&] {
      while (!refused) {
        const HttpAnswer answer = http_get(demo.address(), "/work?ms=5");
        if (answer.status == 200) {
          ++good;
        } else {
          refused = true;  // the listener is closed: no answer at all is right from here on
        }
      }
    });
  }
  // Accepted before the signal, so owed an answer after it.
  Background in_flight(demo.address(), "/sleep?ms=3000", 20);
  const bool all_accepted = eventually([&] {
    return good >= 50 && count_of(demo.debug_get("/debug/tasks").body, "GET /sleep") == 20;
  });
  const auto begin = std::chrono::steady_clock::now();
  demo.process().kill(SIGTERM);
  for (const HttpAnswer& answer : in_flight.join()) cut += answer.status == 200 ? 0 : 1;
  const Finished finished = demo.process().wait(20s);
  const auto took = std::chrono::steady_clock::now() - begin;
  for (std::thread& client : clients) client.join();
  CHECK(all_accepted);
  CHECK(cut == 0);
  CHECK(finished.exit_status == 0);
  CHECK(took < 5s);
  INFO(finished.err);
  CHECK(finished.err.find("\"forced\":0") != std::string::npos);
}

TEST_CASE(
    "with a stuck handler the process ends at the deadline, and the log names it with its stack") {
  Demo demo({"--shutdown-timeout=1s", "--stuck-after=0"});
  Background stuck(demo.address(), "/stuck", 1);
  demo.debug_get_until("/debug/tasks", "GET /stuck");
  const auto begin = std::chrono::steady_clock::now();
  demo.process().kill(SIGTERM);
  const Finished finished = demo.process().wait(20s);
  const auto took = std::chrono::steady_clock::now() - begin;
  stuck.join();
  CHECK(took >= 1s);
  CHECK(took < 3s);
  CHECK(finished.exit_status == 1);
  INFO(finished.err);
  CHECK(
      finished.err.find("\"msg\":\"handler still running at shutdown\",\"label\":\"GET /stuck\"") !=
      std::string::npos);
  CHECK(finished.err.find("demo::wait_forever") != std::string::npos);
}

TEST_CASE("a second SIGTERM ends the process at once") {
  Demo demo({"--shutdown-timeout=30s"});
  Background stuck(demo.address(), "/stuck", 1);
  demo.debug_get_until("/debug/tasks", "GET /stuck");
  demo.process().kill(SIGTERM);
  // The first one has arrived when the listener is closed.
  while (http_get(demo.address(), "/hello").status != 0) std::this_thread::sleep_for(1ms);
  const auto begin = std::chrono::steady_clock::now();
  demo.process().kill(SIGTERM);
  const Finished finished = demo.process().wait(20s);
  CHECK(std::chrono::steady_clock::now() - begin < 2s);
  CHECK(finished.signal == SIGTERM);
  stuck.join();
}

}  // namespace
}  // namespace vigil::test
