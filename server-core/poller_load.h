// PollerLoad: how a poller's leader spends its time, kept up by the leader at the cost of two stores for
// each wait for events, and read by any thread.
//
//   load.begin_wait(now);            // the leader, around epoll_wait
//   epoll_wait(…);
//   load.end_wait(now);
//   PollerLoad::Totals since = load.at(now);   // any thread; the difference of two is a window's
//
// The leader need not read the clock for it: the time of a handler's end, which it knows, is near enough to
// that of the wait that follows (what the last response's send takes is counted as waiting; of a poller
// that is busy that is little, because it has many events for each wait). Where nothing has read the clock
// since the wait before, it must (last_wake()).
//
// The time is the wall's: a leader that waits for a processor is busy too. What does not end, a handler
// that blocks its leader, counts as busy from the beginning; leadership may change hands meanwhile.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/clock.h"

namespace vigil::http {

class PollerLoad {
 public:
  // Work between two waits that takes longer makes what comes meanwhile late. Five requests that may just
  // run on the polling thread are as long (HandlerProfile::kShort).
  static constexpr Duration kLongStretch = std::chrono::milliseconds(1);

  // Since the beginning.
  struct Totals {
    Duration waited{0};  // for events
    Duration late{0};    // in stretches of work longer than kLongStretch that have ended
  };

  // `now`: the leader begins its work.
  explicit PollerLoad(MonotonicTime now) : last_wake_(now), waited_ns_(0) {
    waited_ns_.store(-nanoseconds(now));  // until somebody leads, nothing is to be done
  }

  // --- The leader.

  void begin_wait(MonotonicTime now) {
    const std::int64_t waited = waited_ns_.load(std::memory_order_relaxed);
    if (waited < 0) return;  // the first wait has begun already
    const Duration stretch = now - last_wake_;
    if (stretch > kLongStretch) {
      late_ns_.store(late_ns_.load(std::memory_order_relaxed) + stretch.count(),
                     std::memory_order_relaxed);
    }
    waited_ns_.store(waited - nanoseconds(now), std::memory_order_relaxed);
  }
  void end_wait(MonotonicTime now) {
    const std::int64_t waiting = waited_ns_.load(std::memory_order_relaxed);
    waited_ns_.store(waiting + nanoseconds(now), std::memory_order_relaxed);
    last_wake_ = now;
  }
  // When the last wait ended.
  MonotonicTime last_wake() const { return last_wake_; }

  // --- Any thread.

  Totals at(MonotonicTime now) const {
    const std::int64_t waited = waited_ns_.load(std::memory_order_relaxed);
    return {Duration(waited < 0 ? waited + nanoseconds(now) : waited),
            Duration(late_ns_.load(std::memory_order_relaxed))};
  }

 private:
  static std::int64_t nanoseconds(MonotonicTime time) { return time.time_since_epoch().count(); }

  MonotonicTime last_wake_;
  // While it works what it has waited, from 0; while it waits that less the time at which it began to:
  // negative, because a wait is shorter than the machine's life. One word for both, so that a reader
  // never sees half of a change.
  std::atomic<std::int64_t> waited_ns_;
  std::atomic<std::int64_t> late_ns_{0};
};

}  // namespace vigil::http
