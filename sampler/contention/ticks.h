// The processor's time stamp counter, for waits that are to be timed at the least cost.
//
//   TickScale scale;                      // the collector's
//   scale.step();                         // now and then
//   if (ticks_are_known()) { t0 = ticks_now(); …; wait_ns = ns_of_ticks(ticks_now() - t0); }
//
// rdtsc takes 8 ns here, clock_gettime(2) 18. The counter is trusted where the kernel trusts it: its
// clock source is "tsc" (one rate, the same on every processor). How long a tick is, is measured
// against the clock.
#pragma once

#include <atomic>
#include <cstdint>

namespace vigil::sampler::contention {

// Nanoseconds of a tick, times 2^32; 0: not known (yet), or the counter is not to be trusted.
extern constinit std::atomic<std::uint64_t> ns_per_tick __attribute__((visibility("hidden")));

inline bool ticks_are_known() noexcept { return ns_per_tick.load(std::memory_order_relaxed) != 0; }
inline std::uint64_t ticks_now() noexcept { return __builtin_ia32_rdtsc(); }
inline std::int64_t ns_of_ticks(std::uint64_t ticks) noexcept {
  const auto scale = static_cast<unsigned __int128>(ns_per_tick.load(std::memory_order_relaxed));
  // Read on two processors, a pair of counts may be out of order by a few ticks: no wait, then.
  if (static_cast<std::int64_t>(ticks) < 0) return 0;
  return static_cast<std::int64_t>(ticks * scale >> 32);
}

// Publishes the scale. Not thread-safe.
class TickScale {
 public:
  // Begins to measure. Reads the kernel's clock source from /sys.
  TickScale();
  // Compares with the monotonic clock. Publishes after kMeasureNs, and ever more exactly later:
  // 20 ns of doubt in 100 ms are 2e-7.
  void step();

  // Whether a later step() will publish for the first time.
  bool is_measuring() const { return is_trusted_ && !ticks_are_known(); }

  static constexpr std::int64_t kMeasureNs = 100'000'000;

 private:
  bool is_trusted_ = false;
  std::int64_t begin_ns_ = 0;
  std::uint64_t begin_ticks_ = 0;
};

}  // namespace vigil::sampler::contention
