// The collector's half of the heap sampler: unwinds what allocating threads have captured (sigsafe/heap_recorder.h) and adds
// it up by stack and size.
//
//   HeapCollector collector(modules, unwinder);
//   collector.start(512 * 1024);
//   for (const HeapBucket& bucket : collector.buckets()) …
//
// It has one thread, which sleeps until some of the slots are full: a program that allocates little wakes it never, and
// buckets() unwinds what is left. In a forked child nothing is recorded and buckets() answers with what the parent knew.
//
// What it costs has a bound: where samples come faster than they may, for longer than a burst, the interval is doubled until
// they do not, and comes back by halves when there are fewer. A server that allocates 4 GiB a second and one that allocates 4 MiB pay
// the same, or less.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "sampler/address.h"
#include "sampler/module_table.h"
#include "sampler/unwinder.h"

namespace vigil::sampler {

namespace sigsafe {
struct HeapSlot;
}

// Distinct pairs of stack and size that are kept; what comes beyond goes into the bucket without a stack.
inline constexpr std::size_t kHeapBucketsMax = 32 * 1024;

// Samples (not scaled) of one stack, one size and one interval.
struct HeapBucket {
  Stack stack;
  std::int64_t bytes = 0;          // of one object
  std::int64_t alloc_objects = 0;  // since the start
  std::int64_t inuse_objects =
      0;  // of them, alive now; 0 where the allocator keeps the live objects (tcmalloc)
  std::int64_t interval_bytes = 0;  // mean bytes between them; 0: the profile's
};

struct HeapLoss {
  std::int64_t samples_lost = 0;  // no free slot: counted in a bucket without a stack
  std::int64_t samples_untracked =
      0;                          // no place among the live objects: missing from inuse_objects
  std::int64_t buckets_full = 0;  // more than kHeapBucketsMax: in the bucket without a stack
};

// How much coarser the interval has to be, as a power of two (negative: it may be finer), for `taken` samples in `elapsed`
// to be at most `per_second_max` a second. Finer only where that leaves half of them. Pure.
int interval_step(std::int64_t taken, std::chrono::nanoseconds elapsed,
                  std::int64_t per_second_max);

// Thread-safe. At most one per process.
class HeapCollector {
 public:
  // Both must outlive the collector.
  HeapCollector(Modules& modules, Unwinder& unwinder);
  ~HeapCollector();  // stop()
  HeapCollector(const HeapCollector&) = delete;
  HeapCollector& operator=(const HeapCollector&) = delete;

  // Samples one allocation in `interval_bytes` from now on (a thread notices within 256 KiB of its allocations), at most
  // `per_second_max` a second over some thirty seconds; 0: however many. Another interval than before forgets the counts.
  // Slots: 32 MiB of address space, as much of it in memory as captures needed.
  //   resource_exhausted   no memory, or no thread
  //   busy                 another collector has the recorder
  Result<void> start(std::int64_t interval_bytes, std::int64_t per_second_max = 0);
  // No more samples. What is counted stays, and frees of sampled objects are still noticed.
  void stop();

  // All buckets with a nonzero count. The last one may have no frames: what was lost, at its average size.
  std::vector<HeapBucket> buckets();
  HeapLoss loss() const;
  // In effect now; 0: off.
  std::int64_t interval_in_effect() const;

 private:
  struct Key {
    Stack stack;
    std::int64_t bytes = 0;
    std::int64_t interval_bytes = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const;
  };

  void run();
  void drain();
  void adapt(std::chrono::steady_clock::time_point now);
  void refresh_modules();
  void take(std::size_t number);
  void take_safely(std::size_t number) noexcept;
  std::uint64_t bucket_of(Key key);

  Modules& modules_;
  Unwinder& unwinder_;
  // Unique among the collectors of the process: live objects that another one has numbered lose their stacks.
  const std::uint64_t numbering_;

  std::mutex thread_mutex_;  // guards thread_
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  mutable std::mutex mutex_;  // guards all below, and the reading side of the slots
  std::unordered_map<Key, std::uint64_t, KeyHash> numbers_;  // into counts_
  std::vector<std::int64_t> counts_;
  std::chrono::steady_clock::time_point modules_read_{};
  bool met_unknown_code_ = true;
  std::int64_t interval_ = 0;  // as asked for
  int shift_ = 0;              // the interval in effect is interval_ << shift_
  std::int64_t per_second_max_ = 0;
  std::int64_t taken_ = 0;  // since adapted_
  double unused_ = 0;       // samples that there might have been; negative: there were more
  std::chrono::steady_clock::time_point adapted_{};
  std::int64_t buckets_full_ = 0;
};

}  // namespace vigil::sampler
