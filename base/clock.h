// Time, injected: whatever waits or ages takes a Clock&, so that a test moves time by hand.
//
//   void Watchdog::run() {
//     std::unique_lock lock(mutex_);
//     while (!stopping_) { step(clock_.now()); clock_.wait_until(lock, wake_, clock_.now() +
//     interval_); }
//   }
//
// Two kinds of time, never mixed: `MonotonicTime` for ages and deadlines, `WallTime` for showing to
// people and for a profile's time_nanos. Below the outermost layer we pass deadlines (points), not
// timeouts (durations).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace vigil {

using Duration = std::chrono::nanoseconds;
using MonotonicTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

// "No deadline": later than any time that a clock returns.
inline constexpr MonotonicTime kNoDeadline = MonotonicTime::max();

// The time from `now` to `deadline` as poll(2) takes it: milliseconds rounded up, so that the wait
// never ends early; at most an hour, so callers loop; -1 for kNoDeadline. Pure.
int poll_timeout_ms(MonotonicTime now, MonotonicTime deadline);

// For records and pages: 1.5 ms is 1 in whole milliseconds, and 0.0015 seconds.
constexpr std::int64_t whole_milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}
constexpr double fractional_seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

class Clock {
 public:
  virtual ~Clock() = default;

  // Never goes back, does not count time that the machine is suspended (CLOCK_MONOTONIC). About 20
  // ns.
  virtual MonotonicTime now() const = 0;

  // The calendar's time; may jump.
  virtual WallTime wall_now() const = 0;

  // Waits on `condition` until notified, woken for no reason, or `deadline` passes; as
  // std::condition_variable::wait_until, so callers loop. `lock` must hold the mutex of the
  // condition.
  virtual void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                          MonotonicTime deadline) = 0;
};

// The machine's clocks. Stateless: any number may exist. Thread-safe.
class SystemClock final : public Clock {
 public:
  MonotonicTime now() const override { return std::chrono::steady_clock::now(); }
  WallTime wall_now() const override { return std::chrono::system_clock::now(); }
  void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                  MonotonicTime deadline) override;
};

}  // namespace vigil
