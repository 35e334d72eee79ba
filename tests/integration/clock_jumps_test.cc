// Clocks that jump under a running server: the wall clock in both directions all the time, as it is set by hand or by NTP;
// the monotonic clock once, by an hour, as a machine that was suspended sees it.
#include "tests/support/clock_jumps.h"

#include <string>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_client.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr Duration kHour = 1h;

const std::string kHello = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

json leakwatch_of(const Demo& demo) {
  return json::parse(demo.debug_get("/debug/leakwatch?format=json").body);
}

// That the server has in its date; 0: none.
int year_of(RawClient& client) {
  client.send(kHello);
  const std::string date = client.read_response().header("date");  // Sun, 06 Nov 1994 08:49:37 GMT
  return date.size() == 29 ? std::stoi(date.substr(12, 4)) : 0;
}

TEST_CASE(
    "P2.1, P9.5: a wall clock that jumps by hours and years all the time changes no deadline") {
  ClockJumps clocks;
  Demo demo({"--stuck-after=2s"}, kDemoProgram, clocks.environment());
  RawClient idle(demo.address());
  idle.send(kHello);
  CHECK(idle.read_response().status == 200);
  RawClient half(demo.address());  // in the middle of a head
  half.send("GET /hello HTTP/1.1\r\nHost: ");
  Background profile(demo.debug(), "/debug/pprof/profile?seconds=1", 1);
  Background wall(demo.debug(), "/debug/pprof/wall?seconds=1", 1);
  int right = 0;
  int jumps = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (const Duration by : {kHour, -2 * kHour, 20 * 8766 * kHour, kHour, -20 * 8766 * kHour}) {
    for (int i = 0; i < 4; ++i) {
      clocks.shift_wall(by);
      ++jumps;
      right += demo.get("/hello").body == "hello, world\n";
      right += demo.get("/sleep?ms=20").status == 200;
      right += demo.get("/slow?ms=20").status == 200;  // under a handler timeout
      right += demo.debug_get("/debug/pprof/goroutine?debug=2").status == 200;
      clocks.shift_wall(-by);
      ++jumps;
    }
  }
  const auto profiles = profile.join();
  const auto walls = wall.join();
  CHECK(jumps == 40);
  CHECK(right == 80);
  CHECK(profiles[0].status == 200);
  CHECK(walls[0].status == 200);
  CHECK(std::chrono::steady_clock::now() - begin < 15s);
  // Both connections have been open all the time.
  half.send("x\r\n\r\n");
  CHECK(half.read_response().status == 200);
  idle.send(kHello);
  CHECK(idle.read_response().status == 200);
  CHECK(leakwatch_of(demo)["reports"].empty());
  // What it is now is what the clock says: a second later, as long as a date is good for.
  clocks.shift_wall(40 * 8766 * kHour);
  CHECK(eventually([&] { return year_of(idle) >= 2066; }));
}

TEST_CASE("P2.4: an hour that the machine has slept ends what is overdue, and the server goes on") {
  ClockJumps clocks;
  Demo demo({"--stuck-after=60s"}, kDemoProgram, clocks.environment());
  RawClient idle(demo.address());
  idle.send(kHello);
  CHECK(idle.read_response().status == 200);
  RawClient half(demo.address());
  half.send("GET /hello HTTP/1.1\r\nHost: ");
  Background stuck(demo.address(), "/stuck", 1);
  demo.debug_get_until("/debug/pprof/goroutine?debug=2", "wait_forever");
  Background profile(demo.debug(), "/debug/pprof/profile?seconds=60", 1);
  demo.debug_get_until("/debug/pprof/goroutine?debug=2", "run_rounds");

  const auto jumped = std::chrono::steady_clock::now();
  clocks.shift_monotonic(kHour);
  // Whoever waits in the kernel wakes at its old time; one that comes wakes the poller.
  int right = 0;
  for (int i = 0; i < 50; ++i) right += demo.get("/hello").body == "hello, world\n";
  CHECK(right == 50);
  CHECK(idle.closed_within(12s));
  CHECK(half.read_response().status == 408);
  profile.join();  // of a minute: its connection is overdue too, or it is whole
  CHECK(std::chrono::steady_clock::now() - jumped < 30s);
  // An hour in a handler is stuck, whatever the hour was.
  const std::string text = demo.debug_get_until("/debug/leakwatch", "wait_forever");
  CHECK(text.find("GET /stuck") != std::string::npos);
  demo.post("/release");
  stuck.join();
  CHECK(demo.get("/sleep?ms=20").status == 200);
  const auto after = demo.debug_get("/debug/pprof/profile?seconds=1");
  CHECK(after.status == 200);
  CHECK(leakwatch_of(demo)["stuck_now"] == 0);
}

}  // namespace
}  // namespace vigil::test
