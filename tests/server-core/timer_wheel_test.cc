#include "server-core/timer_wheel.h"

#include <vector>

#include "base/fake_clock.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using vigil::FakeClock;
using vigil::http::TimerWheel;

TEST_CASE("a node comes up not before its time and at most a tick and a bit after") {
  FakeClock clock;
  TimerWheel wheel(clock.now());
  TimerWheel::Node node;
  const auto deadline = clock.now() + 1000ms;
  wheel.arm(node, deadline);
  clock.advance(1000ms - 1ns);
  CHECK(wheel.pop_due(clock.now()) == nullptr);
  clock.advance(1ns + TimerWheel::kTick);
  CHECK(wheel.pop_due(clock.now()) == &node);
  CHECK_FALSE(node.linked());
  CHECK(wheel.pop_due(clock.now()) == nullptr);
}

TEST_CASE("re-arming to a later time leaves the earlier look, to an earlier time moves it") {
  FakeClock clock;
  TimerWheel wheel(clock.now());
  TimerWheel::Node node;
  wheel.arm(node, clock.now() + 1s);
  const auto first_look = wheel.next_look();
  wheel.arm(node, clock.now() + 5s);
  CHECK(wheel.next_look() == first_look);
  wheel.arm(node, clock.now() + 100ms);
  CHECK(wheel.next_look() < first_look);
  wheel.disarm(node);
}

TEST_CASE("beyond the horizon a node is looked at by the horizon, one slot before, at and after") {
  const auto horizon = TimerWheel::kTick * static_cast<int>(TimerWheel::kSlots);
  for (const auto delay : {horizon - TimerWheel::kTick * 2, horizon - TimerWheel::kTick, horizon,
                           horizon + TimerWheel::kTick, horizon * 3}) {
    FakeClock clock;
    TimerWheel wheel(clock.now());
    TimerWheel::Node node;
    const auto deadline = clock.now() + delay;
    wheel.arm(node, deadline);
    int looks = 0;
    while (clock.now() < deadline + TimerWheel::kTick * 2) {
      const auto next = wheel.next_look();
      REQUIRE(next != vigil::kNoDeadline);
      clock.advance(std::max(next - clock.now(), vigil::Duration(1)));
      if (wheel.pop_due(clock.now()) == nullptr) continue;
      ++looks;
      if (clock.now() >= deadline) break;
      wheel.arm(node, deadline);
    }
    CHECK(clock.now() >= deadline);
    CHECK(clock.now() <= deadline + TimerWheel::kTick * 2);
    CHECK(looks <= delay / horizon + 2);
    wheel.disarm(node);
  }
}

TEST_CASE("many nodes come up in the order of their slots, each once") {
  FakeClock clock;
  TimerWheel wheel(clock.now());
  std::vector<TimerWheel::Node> nodes(1000);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    wheel.arm(nodes[i], clock.now() + std::chrono::milliseconds((i * 7919) % 30'000));
  }
  for (std::size_t i = 0; i < nodes.size(); i += 3) wheel.disarm(nodes[i]);
  std::size_t seen = 0;
  std::int64_t last = 0;
  bool ordered = true;
  for (int step = 0; step < 31'000; step += 100) {
    clock.advance(100ms);
    while (TimerWheel::Node* node = wheel.pop_due(clock.now())) {
      const auto index = node - nodes.data();
      ordered &= (index % 3 != 0);
      ordered &= (index * 7919) % 30'000 >= last - 8;
      last = (index * 7919) % 30'000;
      ++seen;
    }
  }
  CHECK(ordered);
  CHECK(seen == 666);
  CHECK(wheel.next_look() == vigil::kNoDeadline);
}

TEST_CASE("a wheel that nobody looked at for longer than its horizon still finds what is due") {
  FakeClock clock;
  TimerWheel wheel(clock.now());
  TimerWheel::Node early, late;
  wheel.arm(early, clock.now() + 1s);
  wheel.arm(late, clock.now() + 20s);
  clock.advance(10min);
  CHECK(wheel.pop_due(clock.now()) == &early);
  CHECK(wheel.pop_due(clock.now()) == &late);
  CHECK(wheel.pop_due(clock.now()) == nullptr);
  TimerWheel::Node next;
  wheel.arm(next, clock.now() + 1s);
  CHECK(wheel.next_look() >= clock.now() + 1s);
  CHECK(wheel.next_look() <= clock.now() + 1s + TimerWheel::kTick);
  wheel.disarm(next);
}
