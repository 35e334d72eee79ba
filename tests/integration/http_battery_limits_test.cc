// PUB-3, as far as it shows from outside: limits, a flood of resets, descriptors and signals.

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include <deque>

#include "tests/integration/http_battery.h"
#include "tests/integration/process_facts.h"
#include "tests/support/catch.h"
#include "tests/support/demo.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Whether a newcomer gets its answer before `limit`, after however many that do not.
bool is_served(const HostPort& server, Clock::time_point limit) {
  while (Clock::now() < limit) {
    RawClient client(server);
    (void)client.send(get("Connection: close\r\n"));
    if (client.read_response().status == 200) return true;
  }
  return false;
}

TEST_CASE("battery P3.1: the connection over the limit is told so, the others go on") {
  Demo demo({"--max-connections=3"});
  std::deque<RawClient> kept;
  for (int i = 0; i < 3; ++i) {
    kept.emplace_back(demo.address());
    REQUIRE(kept.back().send(get("")));
    CHECK(kept.back().read_response().status == 200);
  }
  const auto begin = Clock::now();
  RawClient over(demo.address());
  (void)over.send(get(""));
  const RawResponse refused = over.read_response();
  CHECK(refused.status == 503);
  CHECK(!refused.header("retry-after").empty());
  CHECK(refused.header("connection") == "close");
  CHECK(over.closed_within(1s));
  CHECK(Clock::now() - begin < 1s);
  for (RawClient& client : kept) {
    REQUIRE(client.send(get("")));
    CHECK(client.read_response().status == 200);
  }
  over.close();
  kept.front().close();
  const auto freed = Clock::now();
  CHECK(is_served(demo.address(), freed + 5s));
  CHECK(Clock::now() - freed < 2s);
}

TEST_CASE("battery P3.3: requests over the number in flight are refused at once") {
  Demo demo({"--max-in-flight=4"});
  std::deque<RawClient> clients;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back(demo.address());
    REQUIRE(clients.back().send(get("", "/sleep?ms=1500")));
  }
  const auto begin = Clock::now();
  int served = 0, refused = 0, refused_in_time = 0;
  // The refused ones first: each client's answer is waited for no longer than a sleep.
  std::deque<RawClient*> waiting;
  for (RawClient& client : clients) waiting.push_back(&client);
  while (!waiting.empty() && Clock::now() < begin + 10s) {
    RawClient* const client = waiting.front();
    waiting.pop_front();
    if (!client->receive(5ms)) {
      waiting.push_back(client);
      continue;
    }
    const RawResponse response = client->read_response();
    served += response.status == 200;
    if (response.status != 503) continue;
    ++refused;
    refused_in_time += Clock::now() - begin < 500ms && !response.header("retry-after").empty();
  }
  CHECK(served == 4);
  CHECK(refused == 12);
  CHECK(refused_in_time == 12);
}

TEST_CASE("battery P3.4: out of descriptors, the server waits at little cost and recovers") {
  Demo demo;
  const pid_t pid = demo.process().pid();
  REQUIRE(demo.get("/hello").status == 200);
  rlimit before{};
  REQUIRE(prlimit(pid, RLIMIT_NOFILE, nullptr, &before) == 0);
  const rlimit none{static_cast<rlim_t>(descriptor_count(pid)), before.rlim_max};
  REQUIRE(prlimit(pid, RLIMIT_NOFILE, &none, nullptr) == 0);
  std::deque<RawClient> waiting;
  for (int i = 0; i < 20; ++i) {
    waiting.emplace_back(demo.address());
    (void)waiting.back().send(get(""));
  }
  const auto cpu_before = cpu_time_of(pid);
  std::this_thread::sleep_for(1s);
  CHECK(cpu_time_of(pid) - cpu_before < 200ms);  // a fifth of a core
  REQUIRE(prlimit(pid, RLIMIT_NOFILE, &before, nullptr) == 0);
  const auto begin = Clock::now();
  CHECK(is_served(demo.address(), begin + 10s));
  CHECK(Clock::now() - begin < 3s);
}

TEST_CASE(
    "battery P3.6: 3000 connections that are reset leave no descriptor and no flood of logs") {
  Demo demo;
  const pid_t pid = demo.process().pid();
  REQUIRE(demo.get("/hello").status == 200);
  const std::size_t descriptors = descriptor_count(pid);
  const std::size_t lines = count_of(demo.process().err(), "\n");
  for (int i = 0; i < 3000; ++i) {
    RawClient client(demo.address());
    client.reset_on_close();
    if (i % 3 == 1) (void)client.send("GET /hello HT");
    if (i % 3 == 2) (void)client.send(get("", "/big?n=10000000"));
  }
  const auto limit = Clock::now() + 5s;
  while (descriptor_count(pid) > descriptors && Clock::now() < limit) {
    std::this_thread::sleep_for(20ms);
  }
  CHECK(descriptor_count(pid) <= descriptors);
  CHECK(count_of(demo.process().err(), "\n") - lines <= 10);
  CHECK(demo.get("/hello").status == 200);
}

TEST_CASE("battery P3.7, P3.8: descriptors are closed on exec, SIGPIPE is left alone") {
  Demo demo;
  RawClient client(demo.address());
  REQUIRE(client.send(get("")));
  REQUIRE(client.read_response().status == 200);
  const std::string proc = "/proc/" + std::to_string(demo.process().pid());
  int sockets = 0;
  for (const auto& entry : std::filesystem::directory_iterator(proc + "/fdinfo")) {
    const int number = std::stoi(entry.path().filename());
    const std::string what =
        std::filesystem::read_symlink(proc + "/fd/" + std::to_string(number)).string();
    // Pipes and files: what the test was started with, and hands down.
    if (what.rfind("socket:", 0) != 0 && what.rfind("anon_inode:", 0) != 0) continue;
    std::ifstream file(entry.path());
    std::string key, value;
    while (file >> key >> value && key != "flags:") {
    }
    INFO(what);
    CHECK((std::stoul(value, nullptr, 8) & O_CLOEXEC) != 0);
    ++sockets;
  }
  CHECK(sockets >= 4);  // two listeners, the connection, epoll
  const std::uint64_t pipe_bit = std::uint64_t{1} << (SIGPIPE - 1);
  const pid_t pid = demo.process().pid();
  CHECK((status_number(pid, "SigIgn", 16) & pipe_bit) ==
        (status_number(getpid(), "SigIgn", 16) & pipe_bit));
  CHECK((status_number(pid, "SigCgt", 16) & pipe_bit) == 0);
}

}  // namespace
}  // namespace vigil::test
