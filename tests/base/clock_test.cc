#include "base/clock.h"

#include <atomic>
#include <thread>

#include "base/fake_clock.h"
#include "tests/support/catch.h"

namespace vigil {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a fake clock moves both kinds of time, and only when told") {
  FakeClock clock;
  const MonotonicTime monotonic = clock.now();
  const WallTime wall = clock.wall_now();
  CHECK(clock.now() == monotonic);
  clock.advance(1500ms);
  CHECK(clock.now() - monotonic == 1500ms);
  CHECK(clock.wall_now() - wall == 1500ms);
}

TEST_CASE("poll's timeout is rounded up, never negative but for no deadline, an hour at most") {
  const MonotonicTime now{5s};
  CHECK(poll_timeout_ms(now, kNoDeadline) == -1);
  CHECK(poll_timeout_ms(now, now - 1s) == 0);
  CHECK(poll_timeout_ms(now, now) == 0);
  CHECK(poll_timeout_ms(now, now + 1ns) == 1);
  CHECK(poll_timeout_ms(now, now + 1ms) == 1);
  CHECK(poll_timeout_ms(now, now + 1ms + 1ns) == 2);
  CHECK(poll_timeout_ms(now, now + 24h) == 3'600'000);
}

TEST_CASE("a duration is shown in whole milliseconds, cut, and in fractions of seconds") {
  CHECK(whole_milliseconds(1'999'999ns) == 1);
  CHECK(whole_milliseconds(2ms) == 2);
  CHECK(whole_milliseconds(-1'999'999ns) == -1);
  CHECK(fractional_seconds(1500us) == 0.0015);
}

TEST_CASE("a wait on a fake clock ends at its deadline and not one unit before") {
  FakeClock clock;
  std::mutex mutex;
  std::condition_variable condition;
  std::atomic<bool> returned{false};
  std::atomic<int> looks{0};
  const MonotonicTime deadline = clock.now() + 1s;
  std::thread waiter([&] {
    std::unique_lock lock(mutex);
    while (clock.now() < deadline) {
      clock.wait_until(lock, condition, deadline);
      ++looks;
    }
    returned = true;
  });
  while (clock.waiters() == 0) std::this_thread::yield();
  clock.advance(1s - 1ns);
  // The waiter re-reads fake time every millisecond; three looks of it see no change.
  for (const int before = looks; looks < before + 3 && !returned;) std::this_thread::yield();
  const bool early = returned;
  clock.advance(1ns);
  waiter.join();
  CHECK_FALSE(early);
  CHECK(returned);
}

TEST_CASE("a notification ends a wait on a fake clock before its deadline") {
  FakeClock clock;
  std::mutex mutex;
  std::condition_variable condition;
  bool stop = false;
  std::thread waiter([&] {
    std::unique_lock lock(mutex);
    while (!stop) clock.wait_until(lock, condition, kNoDeadline);
  });
  while (clock.waiters() == 0) std::this_thread::yield();
  {
    std::lock_guard lock(mutex);
    stop = true;
  }
  condition.notify_all();
  waiter.join();
  CHECK(clock.waiters() == 0);
}

TEST_CASE("the system clock waits until its deadline") {
  SystemClock clock;
  std::mutex mutex;
  std::condition_variable condition;
  std::unique_lock lock(mutex);
  const MonotonicTime deadline = clock.now() + 5ms;
  while (clock.now() < deadline) clock.wait_until(lock, condition, deadline);
  CHECK(clock.now() >= deadline);
}

}  // namespace
}  // namespace vigil
