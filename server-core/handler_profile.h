// HandlerProfile: what the engine has learnt about one handler's speed, and so where it runs it.
//
// A handler is an ordinary blocking function, and the engine cannot know which ones block. A thread
// switch for each request costs more than the whole rest of a small request, so handlers that have
// proved short run on the thread that polls ("inline"), all others after that thread has handed
// polling to another.
//
//        32 activations in a row shorter than kShort
//   may block ------------------------------------------> inline
//             <------------------------------------------
//        rescued by the monitor, or the third activation longer than kLong that has not been
//        forgiven; each time the number needed doubles, up to 4096
//
// Activations between kShort and kLong end a streak, but do not demote: they are no danger to the
// others. Nor does a single one beyond kLong that the monitor did not have to rescue: on a machine
// with more runnable threads than cores it mostly means that the thread was preempted. (Measured
// with a trivial handler under wrk on two busy cores: demoted at once, 1 to 16 % of its requests
// were handed over; with 1,024 activations to forgive a long one, 5 %.) 128 activations that are not
// long forgive one that was: handing over costs about 10 us, one that is long without being rescued
// costs the others at most 2 ms, so that one in 128 is where the two cost the same.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "server-core/handler_metrics.h"

namespace vigil::http {

// Thread-safe; every member is a relaxed load or store, so counts may be off by a few under
// contention, which only shifts the moment of a promotion.
class HandlerProfile {
 public:
  static constexpr Duration kShort = std::chrono::microseconds(200);
  static constexpr Duration kLong = std::chrono::milliseconds(1);
  static constexpr std::uint32_t kStreakFirst = 32;
  static constexpr std::uint32_t kStreakMax = 4096;
  static constexpr std::uint32_t kStrikes = 3;
  static constexpr std::uint32_t kForgivenAfter = 128;

  bool runs_inline() const { return inline_.load(std::memory_order_relaxed); }

  // An activation has ended after `took`.
  void record(Duration took);

  // The monitor had to take polling away from the thread that ran this handler inline.
  void record_rescue();

  // What /metrics shows of this handler; the engine adds to it where it calls record().
  HandlerMetrics metrics;

 private:
  void record_inline(Duration took);
  void demote();

  std::atomic<bool> inline_{false};
  std::atomic<std::uint32_t> streak_{0};
  std::atomic<std::uint32_t> debt_{0};  // activations until all long ones are forgiven
  std::atomic<std::uint32_t> streak_needed_{kStreakFirst};
};

}  // namespace vigil::http
