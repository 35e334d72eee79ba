// In-use heap profile from tcmalloc's own sampler (gperftools), switched on while the program runs.
//
//   auto heap = HeapProfiler::create();            // unsupported where the program does not run on
//   tcmalloc auto on = (*heap)->enable({});                 // from now on, one allocation in 512
//   KiB is remembered Result<StackProfile> profile = (*heap)->snapshot(clock.wall_now());
//
// tcmalloc is not linked by this library: the references are weak, so it works, and answers
// `unsupported`, in programs with another allocator. The sampler knows live objects only;
// cumulative columns are not made up.
#pragma once

#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/stack_profile.h"

namespace vigil::sampler {

struct HeapProfilerOptions {
  // Mean number of bytes between samples, 1 KiB to 1 GiB. Go's default: one in 512 KiB costs less
  // than 1 ns for a malloc/free pair; 64 KiB shows smaller leaks and costs some percent of an
  // allocation-heavy program.
  std::int64_t interval_bytes = 512 * 1024;
};

// One object of the sampler's table.
struct HeapSample {
  std::int64_t bytes = 0;  // the size that was asked for
  std::vector<FrameAddress> frames;
};

// Thread-safe. At most one in a process should be enabled: the switch belongs to the process.
class HeapProfiler {
 public:
  // unsupported: no tcmalloc in this program, with what to do about it.
  static Result<std::unique_ptr<HeapProfiler>> create();

  // Switches off, if enable() switched on.
  ~HeapProfiler();

  HeapProfiler(const HeapProfiler&) = delete;
  HeapProfiler& operator=(const HeapProfiler&) = delete;

  // Switches the sampler on, or changes its interval. Allocations made before are never seen; their
  // bytes are reported as the counter "heap_bytes_before_sampling". A thread notices at its next
  // sampling point, which with sampling off is up to 16 MiB of its allocations away (gperftools
  // src/sampler.cc, PickNextSamplingPoint). invalid_argument: interval out of range. busy: sampling
  // was on already when create() was called (the program, or TCMALLOC_SAMPLE_PARAMETER, owns the
  // switch); snapshot() works then too, with that interval.
  Result<void> enable(HeapProfilerOptions options);

  // Sets the switch back to what create() found. Objects sampled so far stay in the table until
  // they are freed.
  void disable();

  // The live sampled objects: columns inuse_objects/count and inuse_space/bytes, scaled up to the
  // whole heap, and the numeric label `bytes` (the object size), period space/bytes. unsupported:
  // neither enable() nor the program switched sampling on. Cost: tcmalloc's page heap lock for a
  // copy of the table (one entry for each sampled object).
  Result<StackProfile> snapshot(WallTime now);

 private:
  struct State;
  explicit HeapProfiler(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Groups by stack and size and scales each group; pure, what snapshot() uses. `interval_bytes` <= 1
// means that everything was sampled.
//
// A Poisson sampler with mean R takes an object of s bytes with probability 1 - e^(-s/R), so each
// stands for 1 / (1 - e^(-s/R)) of its size: Go's scaleHeapSample (src/runtime/pprof/protomem.go).
StackProfile heap_profile_from_samples(const std::vector<HeapSample>& samples,
                                       std::int64_t interval_bytes);

}  // namespace vigil::sampler
