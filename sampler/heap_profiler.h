// Heap profiles: what is in use, what was ever allocated, and where the process asked the system for memory.
//
//   auto heap = HeapProfiler::create(modules, unwinder);
//   (*heap)->enable({});                     // from now on, one allocation in 512 KiB is remembered
//   Result<StackProfile> profile = (*heap)->snapshot(clock.wall_now());
//
// Two sources, found at run time by weak references, so that this library links with any program:
//
//   tcmalloc (gperftools)      the program links it. Its own sampler keeps the live objects. With vigil::tcmalloc_samples
//                              linked too, the cumulative columns come from what that sampler sees; without, only the
//                              in-use columns are known, and none is made up.
//   any other allocator        the program links vigil::malloc_interpose, or the agent is preloaded: malloc and free
//                              count down to the next sample themselves.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/heap_collector.h"
#include "sampler/stack_profile.h"

namespace vigil::sampler {

struct HeapProfilerOptions {
  // Mean number of bytes between samples, 1 KiB to 1 GiB. Go's default: one in 512 KiB costs less
  // than 1 ns for a malloc/free pair; 64 KiB shows smaller leaks and costs some percent of an
  // allocation-heavy program.
  std::int64_t interval_bytes = 512 * 1024;

  // Samples a second at the most, on average of thirty; 0: however many come. Beyond it the interval is
  // doubled until it is kept (to 2 GiB from the default), and the profile has the setting
  // "interval_in_effect"; each sample is scaled by its own. A sample costs some 4 to 6 us: 100 of
  // them are 0.05 % of a processor. Not with tcmalloc, which has one interval for all it knows.
  std::int64_t samples_per_second_max = 100;
};

enum class HeapColumns : std::uint8_t {
  kInuse,          // inuse_objects/count, inuse_space/bytes
  kAllocAndInuse,  // Go's four: alloc_objects/count, alloc_space/bytes, then those
};

// Thread-safe. At most one in a process should be enabled: the switch belongs to the process.
class HeapProfiler {
 public:
  // Both must outlive the profiler. unsupported: neither source is in this program, with what to do about it.
  static Result<std::unique_ptr<HeapProfiler>> create(Modules& modules, Unwinder& unwinder);

  // Switches off, if enable() switched on.
  ~HeapProfiler();

  HeapProfiler(const HeapProfiler&) = delete;
  HeapProfiler& operator=(const HeapProfiler&) = delete;

  // What snapshot() can tell in this program. kInuse: tcmalloc without vigil::tcmalloc_samples.
  HeapColumns columns() const;

  // Switches the sampler on, or changes its interval (the cumulative columns then begin anew).
  // Allocations made before are never seen; with tcmalloc, their bytes are reported as the setting
  // "heap_bytes_before_sampling", and a thread notices at its next sampling point, which with
  // sampling off is up to 16 MiB of its allocations away (gperftools src/sampler.cc,
  // PickNextSamplingPoint); with interposition 256 KiB. invalid_argument: a number out of range.
  // busy: tcmalloc's sampling was on already when create() was called (the program, or
  // TCMALLOC_SAMPLE_PARAMETER, owns the switch); snapshot() works then too, with that interval.
  // resource_exhausted: no memory or no thread for the collector.
  Result<void> enable(HeapProfilerOptions options);

  // Sets the switch back to what create() found. Objects sampled so far stay known until they are
  // freed.
  void disable();

  // The sampled objects by stack and size, in the columns of columns(), scaled up to the whole
  // heap, and the numeric label `bytes` (the object's size, with tcmalloc its size class), period
  // space/bytes. alloc_* never decrease. unsupported: neither enable() nor the program switched
  // sampling on. Counters: samples_lost, samples_untracked, buckets_full (HeapLoss). Cost: a copy of
  // the table of live samples (with tcmalloc under its page heap lock).
  Result<StackProfile> snapshot(WallTime now);

  // The same counters, at any time: since the process began.
  HeapLoss loss() const;

  // Where the allocator asked the system for memory since the process began: columns objects/count
  // (requests) and space/bytes, name "growth". unsupported: only tcmalloc keeps this.
  Result<StackProfile> growth(WallTime now);

  // Gives free memory back to the system: tcmalloc's page heap, or malloc_trim(3). May take
  // milliseconds to seconds on a large heap, with the allocator's lock held.
  void release_free_memory();

 private:
  struct State;
  explicit HeapProfiler(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Groups by stack and size and scales each group; pure, what snapshot() uses. `interval_bytes` <= 1
// means that everything was sampled; it is for buckets without an interval of their own.
//
// A Poisson sampler with mean R takes an object of s bytes with probability 1 - e^(-s/R), so each
// stands for 1 / (1 - e^(-s/R)) of its size: Go's scaleHeapSample (src/runtime/pprof/protomem.go).
StackProfile heap_profile_of(std::span<const HeapBucket> buckets, std::int64_t interval_bytes,
                             HeapColumns columns);

// The same data as the page `allocs` shows it: alloc_space is what a reader sees first.
StackProfile allocs_profile_of(StackProfile heap);

}  // namespace vigil::sampler
