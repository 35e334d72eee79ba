// A clock that moves only when told, for tests of everything that takes a Clock&.
//
//   FakeClock clock;
//   Watchdog watchdog(options, clock, …);
//   clock.advance(999ms);   // one unit before the limit
//   clock.advance(1ms);     // at it
//
// A wait is one slice of 1 ms of real time, after which the caller looks at the fake time again:
// advance() then needs to know nothing of the waiters, not even that they still exist. The
// alternative, a list of condition variables to notify, has a window between a waiter's
// registration and its sleep in which a wake-up is lost. Lifetime: the clock must outlive every
// thread that waits on it.
#pragma once

#include <cstddef>

#include "base/clock.h"

namespace vigil {

// Thread-safe.
class FakeClock final : public Clock {
 public:
  // Starts at one hour after the epoch of both kinds of time, so that "a while ago" is still
  // positive.
  FakeClock() = default;

  MonotonicTime now() const override;
  WallTime wall_now() const override;
  void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                  MonotonicTime deadline) override;

  // Moves both kinds of time by `by`, which must not be negative; waiters whose deadline has come
  // return within about 1 ms of real time.
  void advance(Duration by);

  // How many threads are inside wait_until now.
  std::size_t waiters() const;

 private:
  mutable std::mutex mutex_;
  Duration elapsed_ = std::chrono::hours(1);  // guarded by mutex_
  std::size_t waiters_ = 0;                   // guarded by mutex_
};

}  // namespace vigil
