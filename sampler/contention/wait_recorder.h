// What the interposed functions do once they have found that they must wait: read the clock, decide
// whether the wait is a sample, capture the stack.
//
//   const Site site{WaitKind::kMutex, leaf, __builtin_return_address(0)};
//   if (!HookGuard::inside()) { WaitScope wait(site, mutex); result = real_lock(mutex); }
//
// Nothing here allocates, takes a lock that a program can hold, or touches errno.
#pragma once

#include <cstdint>

#include "sampler/contention/wait_tables.h"
#include "sampler/contention/waiters.h"

namespace vigil::sampler::contention {

// Where a thread waits: which function of ours, called from where.
struct Site {
  WaitKind kind = WaitKind::kMutex;
  std::uintptr_t leaf = 0;    // the interposed function's address
  std::uintptr_t caller = 0;  // its return address
};

// Marks the calling thread as being in our own code: a signal handler of the program that takes a
// lock just then goes past us.
class HookGuard {
 public:
  HookGuard() noexcept;
  ~HookGuard();
  HookGuard(const HookGuard&) = delete;
  HookGuard& operator=(const HookGuard&) = delete;

  static bool inside() noexcept;
};

// One wait, from construction to destruction; a cancelled thread's ends too. With `lock`, its
// holder is charged for it.
//
// At a lock with short waits (waiters.h) few are chosen to be looked at, each for as many as its
// weight; what the others take is read from the processor's counter (ticks.h) alone, and only a
// wait that turns out to be long is recorded all the same, for itself:
//
//     chosen before?  no ─► shorter than kShortWaitNs? yes: nothing      no: recorded, as 1
//         └─────────► yes ─► shorter than kShortWaitNs? yes: as `weight`  no: recorded, as 1
//
// Long waits are all there, and short ones keep their expectation.
class WaitScope {
 public:
  WaitScope(const Site& site, const void* lock) noexcept;
  ~WaitScope();
  WaitScope(const WaitScope&) = delete;
  WaitScope& operator=(const WaitScope&) = delete;

 private:
  enum class Way : std::uint8_t {
    kPassedOver,  // not chosen: `since_ticks_` alone is known
    kTimed,
    kEntered,  // timed, and in the table of waiters
  };

  void end_passed_over() noexcept;
  void end_timed() noexcept;

  const Site site_;
  const void* lock_;  // null: nobody to charge
  Way way_ = Way::kTimed;
  std::uint32_t weight_ = 1;  // for how many short waits it stands
  std::int64_t since_ns_ = 0;
  std::uint64_t since_ticks_ = 0;
};

// Before a lock is let go: what the caller has kept others waiting. A load if nobody waits.
bool may_keep_waiting(const void* lock) noexcept;
Charge charge_holder(const void* lock) noexcept;
// After it: makes a sample of the charge, by chance, with the caller's stack.
void record_holder(const Site& site, const Charge& charge) noexcept;

// pthread_create: a record for the new thread with its creator's stack; null if the table is full.
ThreadRecord* record_creation(const Site& site) noexcept;
// The thread was not made, or has ended.
void forget_thread(ThreadRecord& record) noexcept;

// Whether a wait of `delay_ns` is a sample at `rate_ns`, and for how much it stands. A wait of the
// rate or more always is and stands for itself; a shorter one is with the probability delay / rate,
// and stands for rate / delay of its kind, so that the sums keep their expectation: Go's rule
// (runtime/mprof.go, blocksampled and saveblockevent). `random` is uniform in 64 bits. Pure.
struct Weight {
  bool sampled = false;
  double count = 0;
  std::int64_t delay_ns = 0;
};
Weight weigh(std::int64_t delay_ns, std::int64_t rate_ns, std::uint64_t random) noexcept;

// Of the whole process.
extern constinit WaiterTable waiters __attribute__((visibility("hidden")));

}  // namespace vigil::sampler::contention
