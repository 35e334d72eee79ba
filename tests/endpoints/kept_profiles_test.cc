// Profiles that are kept: the ring's bounds, and when a trigger fires.
#include "endpoints/profile_ring.h"
#include "endpoints/triggers.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;

namespace vigil::endpoints {
namespace {

KeptProfile profile_of(std::size_t bytes, const char* kind = "cpu") {
  return {.taken = WallTime(1'700'000'000s),
          .kind = kind,
          .reason = "test",
          .suffix = ".pb.gz",
          .bytes = std::string(bytes, 'x')};
}

std::vector<std::uint64_t> numbers(const ProfileRing& ring) {
  std::vector<std::uint64_t> found;
  for (const auto& each : ring.list()) found.push_back(each.profile.number);
  return found;
}

TEST_CASE("the ring keeps the newest of what fits, and counts the rest") {
  ProfileRing ring(100);
  ring.add(profile_of(40));
  ring.add(profile_of(60));
  CHECK(numbers(ring) == std::vector<std::uint64_t>{2, 1});  // exactly full
  ring.add(profile_of(1));
  CHECK(numbers(ring) == std::vector<std::uint64_t>{3, 2});
  ring.add(profile_of(101));  // alone too large: nothing is pushed out for it
  CHECK(numbers(ring) == std::vector<std::uint64_t>{3, 2});
  ring.add(profile_of(100));
  CHECK(numbers(ring) == std::vector<std::uint64_t>{5});
  const auto counters = ring.counters();
  CHECK(counters.added == 5);
  CHECK(counters.pushed_out == 3);
  CHECK(counters.too_large == 1);
  CHECK(counters.bytes == 100);
  CHECK(ring.find(5)->bytes.size() == 100);
  CHECK_FALSE(ring.find(1));
  CHECK_FALSE(ring.find(6));
  CHECK(ring.list().front().profile.bytes.empty());
  CHECK(ring.list().front().size == 100);
}

TriggerFigures at(Duration time) {
  TriggerFigures figures;
  figures.now = MonotonicTime(1h + time);
  return figures;
}

TEST_CASE("the queue's trigger looks at the mean wait between two steps, above its limit") {
  Triggers triggers({.queue_wait = 100ms, .cooldown = 1min});
  TriggerFigures figures = at(0s);
  figures.queue_left = 10;
  figures.queue_waited = 100s;  // before it looked
  CHECK(triggers.step(figures).empty());
  figures.now += 1s;
  CHECK(triggers.step(figures).empty());  // nobody left the queue
  figures.now += 1s;
  figures.queue_left += 2;
  figures.queue_waited += 200ms;
  CHECK(triggers.step(figures).empty());  // at the limit
  figures.now += 1s;
  figures.queue_left += 2;
  figures.queue_waited += 202ms;
  const auto fired = triggers.step(figures);
  REQUIRE(fired.size() == 1);
  CHECK(fired[0].reason == "queue wait 101ms on average, limit 100ms");
}

TEST_CASE("a trigger is quiet for its cooldown, and fires again behind it") {
  Triggers triggers({.stuck_reports = 1, .cooldown = 1min});
  TriggerFigures figures = at(0s);
  triggers.step(figures);
  const auto fires_at = [&](Duration time) {
    figures.now = at(time).now;
    ++figures.stuck_reports;
    return triggers.step(figures).size();
  };
  CHECK(fires_at(1s) == 1);
  CHECK(fires_at(2s) == 0);
  CHECK(fires_at(61s - 1ns) == 0);
  CHECK(fires_at(61s) == 1);
}

TEST_CASE("the trigger of the 99th percentile wants enough requests") {
  Triggers triggers({.p99 = 250ms});
  TriggerFigures figures = at(0s);
  const auto add = [&figures](std::size_t duration_class, std::uint64_t count) {
    figures.handlers.durations[duration_class] += count;
    figures.handlers.status_classes[2] += count;
  };
  add(15, 1000);  // before it looked
  triggers.step(figures);
  figures.now += 1s;
  add(15, Triggers::kRequestsMin - 1);
  CHECK(triggers.step(figures).empty());
  figures.now += 1s;
  add(9, 100);  // up to 250 ms: at the limit
  CHECK(triggers.step(figures).empty());
  figures.now += 1s;
  add(9, 98);
  add(10, 2);  // up to 500 ms
  const auto fired = triggers.step(figures);
  REQUIRE(fired.size() == 1);
  CHECK(fired[0].reason == "99th percentile up to 500ms, limit 250ms");
}

TEST_CASE("the memory's trigger looks at the growth over a minute") {
  constexpr std::uint64_t kMiB = 1024 * 1024;
  Triggers triggers({.resident_bytes_per_minute = 10 * kMiB, .cooldown = 1h});
  TriggerFigures figures = at(0s);
  figures.resident_bytes = 100 * kMiB;
  triggers.step(figures);
  figures.now = at(59s).now;
  figures.resident_bytes = 200 * kMiB;
  CHECK(triggers.step(figures).empty());  // not a minute yet
  figures.now = at(60s).now;
  figures.resident_bytes = 110 * kMiB;
  CHECK(triggers.step(figures).empty());  // at the limit
  figures.now = at(120s).now;
  figures.resident_bytes = 90 * kMiB;
  CHECK(triggers.step(figures).empty());
  figures.now = at(180s).now;
  figures.resident_bytes = 101 * kMiB;
  const auto fired = triggers.step(figures);
  REQUIRE(fired.size() == 1);
  CHECK(fired[0].reason == "resident memory grows by 11.0 MiB a minute, limit 10.0");
}

TEST_CASE("nothing fires that is not switched on") {
  Triggers triggers({});
  TriggerFigures figures = at(0s);
  triggers.step(figures);
  figures.now = at(10min).now;
  figures.queue_left = 1;
  figures.queue_waited = 1h;
  figures.handlers.durations[15] = figures.handlers.status_classes[2] = 1000;
  figures.resident_bytes = std::uint64_t{1} << 40;
  figures.stuck_reports = 1000;
  CHECK(triggers.step(figures).empty());
}

}  // namespace
}  // namespace vigil::endpoints
