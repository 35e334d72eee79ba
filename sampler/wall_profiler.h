// Wall-clock profiles: where threads spend their time, running or waiting.
//
//   WallProfiler profiler(clock, *collector);
//   Result<StackProfile> profile =
//       profiler.profile({.hz = 50, .deadline = clock.now() + 30s, .of = WallThreads::kAll}, stop);
//
// Each round looks at every thread. One that has not been on a processor since the last round is
// where it was: its last stack counts again, for the price of one file read. Of the others the
// blocked ones are read from outside and the running ones get a signal (thread_snapshot.h), so a
// sleeping thread never notices that it is profiled.
//
// A sample's time is what has passed since the round before, so the times of one thread add up to
// how long it was watched, at whatever rate the rounds came.
#pragma once

#include <stop_token>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/sample_table.h"
#include "sampler/stack_profile.h"
#include "sampler/thread_snapshot.h"

namespace vigil::sampler {

inline constexpr int kWallHzMin = 1;
inline constexpr int kWallHzMax = 1000;
inline constexpr int kWallHzDefault = 50;

// What a profile may cost. With more threads, or dearer ones, rounds are further apart than `hz`
// asks for; the counter rounds_skipped says how many are missing.
inline constexpr int kWallLooksPerSecondMax = 10'000;  // threads x rounds
inline constexpr double kWallCpuShareMax = 0.25;       // of one processor

enum class WallThreads : std::uint8_t {
  kAll,
  kWithTasks,  // those that are in a task at the time of the round
};

struct WallProfileOptions {
  int hz = kWallHzDefault;               // rounds a second; kWallHzMin..kWallHzMax
  MonotonicTime deadline = kNoDeadline;  // when the capture ends by itself
  WallThreads of = WallThreads::kAll;
  SampleOptions samples = {};  // filters and labels
};

// Thread-safe: any number of captures run at once, and take turns on the collector.
class WallProfiler {
 public:
  // Both must outlive the profiler and its running captures.
  WallProfiler(Clock& clock, StackCollector& collector) : clock_(clock), collector_(collector) {}

  // Samples until the deadline or until `stop` is requested, whichever is first, on the calling
  // thread, which is not sampled itself.
  //
  // The profile: types samples/count and time/nanoseconds, period 1e9 / hz wall nanoseconds; each
  // sample with the label `state`: running, sleep, futex wait, IO wait, … (wait_reason.h).
  // Counters: looks, looks_reused (stacks that counted again), threads_unanswered (looks that gave
  // no stack), stacks_truncated, rounds_skipped, collector_cpu_ns, and those of SampleTable.
  // Errors: invalid_argument (hz), and list_threads()'s.
  // Cost: 2 us for a thread that has not moved, 30 to 60 us for one that has; a running one is kept
  // for about 2 us.
  Result<StackProfile> profile(const WallProfileOptions& options, const std::stop_token& stop);

 private:
  Clock& clock_;
  StackCollector& collector_;
};

}  // namespace vigil::sampler
