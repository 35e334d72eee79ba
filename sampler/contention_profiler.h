// Where threads wait for each other, and who keeps them waiting; and who created which thread.
//
//   auto contention = ContentionProfiler::create({}, clock, modules, unwinder);
//   if (!contention) …                       // unsupported: link vigil::contention
//   StackProfile p = (*contention)->waits(WaitView::kMutex);       // since it was switched on
//
// Programs that link vigil::contention have the pthread lock functions interposed (lock_hooks.cc);
// this is the collector that switches them on, unwinds what they capture, and adds it up.
//
//  program's threads                          collector thread, every 100 ms
//  ─────────────────                          ──────────────────────────────
//  trylock fails: who holds it is noted
//  wait …
//  weigh(delay): a sample? ─ no ─► nothing
//     │ yes: registers and stack ─► slot ───► unwind ─► table of stacks ─► waits()
//
// What is seen: mutexes, rwlocks, condition variables, semaphores and joins of pthreads, and so
// std::mutex, std::shared_mutex, std::condition_variable, std::thread. What is not: locks that call
// futex(2) themselves (std::atomic::wait, std::counting_semaphore, std::latch, absl::Mutex), spin
// locks, and the C library's own (malloc, stdio).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/module_table.h"
#include "sampler/stack_profile.h"
#include "sampler/unwinder.h"

namespace vigil::sampler {

struct ContentionOptions {
  // The delay that one sample stands for, as Go's SetBlockProfileRate: a wait of the rate or more
  // is always a sample, a shorter one with the probability wait / rate, and the sums stay unbiased.
  // What it costs is in docs/performance.md: 10 % and more of the throughput where many threads want
  // one lock for a tenth of a microsecond. 1 ns takes every wait. Zero: switched off. At most
  // kContentionRateMax.
  Duration rate = std::chrono::milliseconds(1);
  // Different stacks that are kept; waits at further ones are added up under "[table full]".
  // 16..1'000'000.
  std::size_t stacks_max = 10'000;
  // More samples a second than this make the rate in effect coarser until they are less: what the
  // collector costs has a bound, 1,000 samples being about one percent of a processor. ≥ 10.
  std::size_t samples_per_second_max = 1'000;
};

inline constexpr Duration kContentionRateMax = std::chrono::seconds(100);

// Which waits, at whose stacks.
enum class WaitView : std::uint8_t {
  kMutex,        // mutexes and rwlocks, at the stack of the thread that waited
  kMutexHolder,  // the same time, at the stack of the thread that let go of the lock: each moment of
                 // a wait belongs to who held the lock then
  kBlock,        // everything that waited: also condition variables, semaphores, joins
};

// Totals since the process began.
struct ContentionCounters {
  std::uint64_t samples = 0;         // of waits and of holders
  std::uint64_t samples_lost = 0;    // no slot was free; their time is in no profile
  Duration lost_delay{};             // that time
  std::uint64_t waiters_unseen = 0;  // waits whose holder could not be charged: table full
  Duration handoff{};                // from a release to the next owner: no holder's time
  std::uint64_t stacks = 0;          // in the table now
  std::uint64_t table_full = 0;      // samples under "[table full]"
  std::uint64_t threads_unseen = 0;  // created while the table of threads was full
  std::uint64_t waiting = 0;         // threads that wait for a mutex or rwlock now, an estimate for
                                     // locks with many short waits (contention/waiters.h)
  Duration collector_cpu{};          // of the collector's own thread
};

// Thread-safe. At most one in a process.
class ContentionProfiler {
 public:
  // Switches on, with a thread of its own named "vglock". `clock`, `modules` and `unwinder` must
  // outlive the object.
  //   unsupported         the program does not have the hooks; the sentence says what to do
  //   busy                there is one already
  //   invalid_argument    an option is out of range
  //   resource_exhausted  no memory for the tables (20 MiB of address space, little of it touched),
  //                       or no thread
  static Result<std::unique_ptr<ContentionProfiler>> create(ContentionOptions options, Clock& clock,
                                                            Modules& modules, Unwinder& unwinder);
  // The same without interposed functions: for tests that call the recorder themselves.
  static Result<std::unique_ptr<ContentionProfiler>> create_without_hooks(ContentionOptions options,
                                                                          Clock& clock,
                                                                          Modules& modules,
                                                                          Unwinder& unwinder);
  // Switches off. Waits that end later are not counted.
  ~ContentionProfiler();
  ContentionProfiler(const ContentionProfiler&) = delete;
  ContentionProfiler& operator=(const ContentionProfiler&) = delete;

  // invalid_argument: negative, or above kContentionRateMax. Zero switches waits off; what was
  // counted stays.
  Result<void> set_rate(Duration rate);
  Duration rate() const;

  // All waits since create(), including those that have ended just now: columns contentions/count
  // and delay/nanoseconds, monotonic for each stack. A wait that goes on is not in it. Named
  // "mutex" or "block". unsupported: switched off, and nothing was ever counted.
  Result<StackProfile> waits(WaitView view);

  // Live threads by the stack that created them, column threadcreate/count. Threads that are older
  // than the profiler are under "[created before vigil]"; others that were not seen (made by the C
  // library itself, or by clone(2)) under "[creator not seen]".
  // permission_denied: /proc does not show the threads.
  Result<StackProfile> thread_creators();

  ContentionCounters counters() const;

  // Takes up what has been captured until now. The collector's thread does it every 100 ms (every
  // second while there is nothing), and waits() and thread_creators() do it first.
  void step(MonotonicTime now);

 private:
  class Impl;
  explicit ContentionProfiler(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vigil::sampler
