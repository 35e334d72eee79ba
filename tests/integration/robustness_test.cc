// The demo as a process that runs short of descriptors, and that is told to end early.
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/integration/process_facts.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_client.h"
#include "tests/support/sanitizer.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

TEST_CASE("no thread that only works for vigil takes a signal of the program") {
  Demo demo({"--keep-profiles=1h"});
  const std::string tasks = "/proc/" + std::to_string(demo.process().pid()) + "/task";
  const std::set<std::string> ours = {"vglock",         "vigil-heap",     "vigil-keeper",
                                      "vigil-watchdog", "vigil-callback", "vigil-monitor"};
  // Threads give themselves their names.
  std::map<std::string, pid_t> seen;
  CHECK(eventually([&] {
    for (const auto& entry : std::filesystem::directory_iterator(tasks)) {
      std::string name;
      std::getline(std::ifstream(entry.path() / "comm"), name);
      if (ours.contains(name)) seen[name] = std::stoi(entry.path().filename());
    }
    return seen.contains("vglock") == !kUnderSanitizer && seen.contains("vigil-keeper") &&
           seen.contains("vigil-watchdog");
  }));
  for (const auto& [name, thread] : seen) {
    INFO(name);
    CHECK((status_number(thread, "SigBlk", 16) >> (SIGUSR1 - 1) & 1) == 1);
  }
}

TEST_CASE("P3.4: at RLIMIT_NOFILE newcomers are told, the process rests, and recovers within 3 s") {
  Demo demo;
  const pid_t pid = demo.process().pid();
  REQUIRE(demo.get("/hello").status == 200);
  constexpr std::size_t kRoom = 10;
  const rlim_t limit = descriptor_count(pid) + kRoom;
  const rlimit few{limit, limit};
  REQUIRE(::prlimit(pid, RLIMIT_NOFILE, &few, nullptr) == 0);

  std::vector<RawClient> clients;
  std::vector<RawClient> turned_away;
  const auto crowd = [&] {
    clients.emplace_back(demo.address());
    clients.back().send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    const RawResponse response = clients.back().read_response();
    if (response.status == 200) return true;
    CHECK(response.status == 503);
    CHECK(response.header("retry-after") == "1");
    CHECK(response.header("connection") == "close");
    turned_away.push_back(std::move(clients.back()));
    clients.pop_back();
    return false;
  };
  int served = 0;
  while (crowd()) REQUIRE(++served <= 2 * static_cast<int>(kRoom));
  CHECK(served >= static_cast<int>(kRoom) / 2);

  // Two seconds in which newcomers keep coming.
  const auto cpu_before = cpu_time_of(pid);
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < 2s) crowd();
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK((cpu_time_of(pid) - cpu_before) * 5 < took);
  for (RawClient& client : clients) {
    client.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(client.read_response().status == 200);
  }

  clients.clear();
  const auto freed = std::chrono::steady_clock::now();
  int status = 0;
  while (status != 200 && std::chrono::steady_clock::now() - freed < 10s) {
    status = demo.get("/hello").status;
  }
  CHECK(status == 200);
  CHECK(std::chrono::steady_clock::now() - freed < 3s);
  CHECK(count_of(demo.process().err(), "accept failed") <= 2);
}

TEST_CASE("P4.7: SIGTERM 20 ms after exec ends the process, whatever it has got to") {
  for (int round = 0; round < 10; ++round) {
    Subprocess process({kDemoProgram, "--listen=127.0.0.1:0", "--debug=127.0.0.1:0"});
    std::this_thread::sleep_for(20ms);
    process.kill(SIGTERM);
    const Finished finished = process.wait(5s);
    INFO(finished.err);
    CHECK(finished.signal != SIGKILL);
    CHECK((finished.exit_status == 0 || finished.signal == SIGTERM));
  }
}

TEST_CASE("P4.1: the demo's listener is closed within 100 ms of SIGTERM") {
  Demo demo;
  Background in_flight(demo.address(), "/sleep?ms=1000", 1);
  demo.debug_get_until("/debug/tasks", "GET /sleep");
  demo.process().kill(SIGTERM);
  const auto begin = std::chrono::steady_clock::now();
  while (RawClient(demo.address()).connected()) std::this_thread::yield();
  CHECK(std::chrono::steady_clock::now() - begin < 100ms);
  CHECK(in_flight.join()[0].status == 200);
  CHECK(demo.process().wait(20s).exit_status == 0);
}

TEST_CASE("the demo's queue and its limit of requests per connection are flags") {
  Demo demo({"--max-in-flight=1", "--max-queue=1", "--queue-timeout=200ms",
             "--max-requests-per-connection=2", "--max-connections=40",
             "--connection-policy=pause"});
  Background holds(demo.address(), "/sleep?ms=1500", 1);
  demo.debug_get_until("/debug/tasks", "GET /sleep");
  const auto begin = std::chrono::steady_clock::now();
  CHECK(demo.get("/hello").status == 503);
  CHECK(std::chrono::steady_clock::now() - begin >= 200ms);
  CHECK(holds.join()[0].status == 200);
  RawClient client(demo.address());
  for (const char* connection : {"", "close"}) {
    client.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(client.read_response().header("connection") == connection);
  }
}

}  // namespace
}  // namespace vigil::test
