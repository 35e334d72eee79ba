// Who waits for which lock, so that a thread that lets go of one learns for how long it has kept
// others waiting.
//
//   waiter                                    holder
//   ──────                                    ──────
//   trylock fails
//   enter(lock, t0) ──► {lock, 1 waiter}
//   waits …                                   charge(lock, t1) ──► t1 - t0, 1 waiter
//   …                                         unlock
//   leave(lock, t0, t2)   t2 - t1 was the hand-over: nobody's
//
// Each moment of a wait is charged once: to the thread that held the lock then, at its release. The
// time that a waiter spends behind a second waiter is that one's. For n waiters that came at s_i
// the charge at time t is n t - Σ s_i, and the sum is all that is kept of them: an entry is as
// small for a thousand waiters as for one.
//
// A lock whose waits are short has many of them, and then the table itself would be what they wait
// for. So only one in so many of its waiters enters, with that weight: as many as keep a waiter's
// charge below a quarter of the rate (a finer account would be lost in the sampling anyway), at
// most kShortWeightMax, and all of them again after a wait of kShortWaitNs. Whether a waiter enters
// is decided before its wait, so the sums keep their expectation.
//
// A stripe's lock is held for some ten instructions and never while anything else is called; the
// thread's own re-entry is kept out by HookGuard. What can give up, gives up (a fork may have left
// the lock taken for ever in the child); leave() cannot, and is only called by a thread that
// entered.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace vigil::sampler::contention {

// What a release ends: the waiting that it caused.
struct Charge {
  std::uint32_t waiters = 0;
  std::int64_t delay_ns = 0;
};

// Waits below this do not show whose hold they were: they are mostly the scheduler's doing.
inline constexpr std::int64_t kShortWaitNs = 100'000;
inline constexpr std::uint32_t kShortWeightMax = 64;

// Thread-safe; constant-initialized.
class WaiterTable {
 public:
  static constexpr std::size_t kStripes = 1024;
  // Contended locks whose addresses fall into one stripe; more are not seen.
  static constexpr std::size_t kLocksPerStripe = 3;

  // As how many the next waiter of `lock` enters: 1, or for a lock with short waits its weight or 0
  // (not at all), by `random`, uniform in its low bits.
  std::uint32_t weight_of_next(const void* lock, std::uint64_t random) const noexcept {
    const std::uint32_t weight = std::uint32_t{1}
                                 << stripe_of(lock).weight_bits.load(std::memory_order_relaxed);
    return (random & (weight - 1)) == 0 ? weight : 0;
  }
  // How long a waiter of `lock` has waited, entered or not; `rate_ns` of waiting are a sample.
  void note_wait(const void* lock, std::int64_t wait_ns, std::int64_t rate_ns) noexcept;
  // All locks are taken to have long waits again.
  void forget_waits() noexcept;

  // Notes that `weight` callers wait for `lock` since `now_ns`. False: no place; do not leave()
  // then. `weight` ≥ 1.
  bool enter(const void* lock, std::int64_t now_ns, std::uint32_t weight = 1) noexcept;
  // The end of that wait, which began at `since_ns`. Returns the time that no holder was charged
  // for, times `weight`.
  std::int64_t leave(const void* lock, std::int64_t since_ns, std::int64_t now_ns,
                     std::uint32_t weight = 1) noexcept;

  // Whether anybody may be waiting for `lock`; a load.
  bool may_have_waiters(const void* lock) const noexcept {
    return stripe_of(lock).waiters.load(std::memory_order_relaxed) != 0;
  }
  // What the waiters of `lock` have waited since they came, or since the last charge.
  Charge charge(const void* lock, std::int64_t now_ns) noexcept;

  // Waiters of all locks now.
  std::uint64_t waiting() const noexcept;

 private:
  struct Entry {
    const void* lock = nullptr;  // null: free
    std::uint32_t waiters = 0;
    std::int64_t charged_until_ns = 0;
    std::uint64_t since_sum = 0;  // of max(since, charged_until), modulo 2^64
  };
  struct alignas(128) Stripe {
    std::atomic<std::uint32_t> locked{0};
    std::atomic<std::uint32_t> waiters{0};
    std::atomic<std::uint8_t> weight_bits{0};
    std::array<Entry, kLocksPerStripe> entries{};
  };

  static std::size_t index_of(const void* lock) noexcept;
  Stripe& stripe_of(const void* lock) noexcept { return stripes_[index_of(lock)]; }
  const Stripe& stripe_of(const void* lock) const noexcept { return stripes_[index_of(lock)]; }
  static Entry* find(Stripe& stripe, const void* lock) noexcept;

  std::array<Stripe, kStripes> stripes_{};
};

// Fibonacci hashing: locks are at multiples of 8 and often at one distance from each other.
inline std::size_t WaiterTable::index_of(const void* lock) noexcept {
  constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15u;
  return static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(lock) * kGolden >> 54);
}

}  // namespace vigil::sampler::contention
