// The debug listener under clients that mean it badly, and a process that is stopped and continued: the
// application's requests go on, and all is as before when they are gone.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <ctime>
#include <deque>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/raw_client.h"
#include "tests/support/temporary_folder.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;

// `count` requests of the application, one after the other: how many were right. `slowest`: of them.
int served(const Demo& demo, int count, Duration* slowest = nullptr) {
  int right = 0;
  for (int i = 0; i < count; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    right += demo.get("/hello").body == "hello, world\n";
    const Duration took = std::chrono::steady_clock::now() - begin;
    if (slowest != nullptr) *slowest = std::max(*slowest, took);
  }
  return right;
}

// Whether a debug page answers again, within ten seconds.
bool debug_recovers(const Demo& demo) {
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (std::chrono::steady_clock::now() < until) {
    if (demo.debug_get("/debug/vars").status == 200) return true;
  }
  return false;
}

TEST_CASE("P7.9: 200 debug clients that never read take nothing from the application") {
  Demo demo;
  Duration before{};
  CHECK(served(demo, 100, &before) == 100);
  std::deque<RawClient> clients;
  std::string requests;
  for (int i = 0; i < 200; ++i) {
    requests += "GET /debug/pprof/goroutine?debug=2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
  }
  for (int i = 0; i < 200; ++i) {
    RawClient& client = clients.emplace_back(demo.debug(), 4096);
    client.reset_on_close();
    client.send(requests);
  }
  Duration beside{};
  CHECK(served(demo, 100, &beside) == 100);
  CHECK(beside < before + 500ms);
  clients.clear();
  CHECK(debug_recovers(demo));
  CHECK(served(demo, 100) == 100);
}

TEST_CASE("P7.6, P7.9: of 100 captures at once some run, the others are refused at once") {
  Demo demo;
  Background captures(demo.debug(), "/debug/pprof/profile?seconds=1", 100);
  CHECK(served(demo, 50) == 50);
  int profiles = 0;
  int refused = 0;
  for (const HttpAnswer& answer : captures.join()) {
    profiles += answer.status == 200 && !answer.body.empty();
    refused += answer.status == 429 || answer.status == 503;
  }
  CHECK(profiles >= 1);
  CHECK(profiles + refused == 100);
  CHECK(debug_recovers(demo));
}

TEST_CASE("P9.5: a process that is stopped and continued all the time loses no request") {
  Demo demo;
  Background profile(demo.debug(), "/debug/pprof/profile?seconds=2&hz=1000", 1);
  std::atomic<bool> stop{false};
  int stops = 0;
  std::thread signals([&] {
    const timespec moment{0, 25'000'000};
    while (!stop) {
      demo.process().kill(SIGSTOP);
      nanosleep(&moment, nullptr);
      demo.process().kill(SIGCONT);
      nanosleep(&moment, nullptr);
      ++stops;
    }
  });
  // A sleep that is stopped in the middle goes on after it; 500 if it was interrupted, which the
  // profile's timer does when it ends in the moment of CPU that a continued sleep takes.
  int right = 0;
  int slept = 0;
  for (int i = 0; i < 20; ++i) {
    right += demo.get("/hello").body == "hello, world\n";
    right += demo.get("/work?ms=20").status == 200;
    slept += demo.get("/sleep?ms=50").status == 200;
  }
  const auto profiles = profile.join();
  stop = true;
  signals.join();
  CHECK(right == 40);
  CHECK(slept >= 18);
  CHECK(stops > 20);
  REQUIRE(profiles.size() == 1);
  CHECK(profiles[0].status == 200);
  CHECK(profiles[0].body.size() > 100);
  CHECK(served(demo, 10) == 10);
}

// The demo with its stderr, where the log goes, on a disk that is full.
std::string without_room_for_a_log(const TemporaryFolder& folder) {
  const std::string path = folder / "demo";
  std::ofstream(path) << "#!/bin/sh\nexec " << kDemoProgram << " \"$@\" 2>/dev/full\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

TEST_CASE(
    "a full disk where the log goes: no request fails, and the stuck handler is on its page") {
  const TemporaryFolder folder;
  Demo demo({"--access-log=on", "--stuck-after=200ms"}, without_room_for_a_log(folder));
  CHECK(served(demo, 100) == 100);
  Background stuck(demo.address(), "/stuck", 1);
  const std::string report = demo.debug_get_until("/debug/leakwatch", "wait_forever");
  CHECK(report.find("GET /stuck") != std::string::npos);
  demo.post("/release");
  CHECK(stuck.join()[0].status == 200);
  CHECK(served(demo, 100) == 100);
  demo.process().kill(SIGTERM);
  const Finished finished = demo.process().wait(30s);
  CHECK(finished.exit_status == 0);
  CHECK(finished.err.empty());  // it went where there was no room
}

}  // namespace
}  // namespace vigil::test
