// CPU profiles from one CPU timer a thread.
//
//   CpuProfiler profiler(clock, modules, unwinder, *channel);
//   Result<StackProfile> profile = profiler.profile({.hz = 100, .deadline = clock.now() + 30s},
//   stop_token);
//
// timer_create(2) on another thread's CPU clock with SIGEV_THREAD_ID needs no help of that thread,
// and each thread is sampled at the full rate; the process-wide ITIMER_PROF saturates at about 200
// samples a second in total (measured). The kernel's tick delivers at most CONFIG_HZ (250) signals
// per CPU-second, so a sample's weight is 1 + si_overrun, which makes higher rates exact in sum.
#pragma once

#include <stop_token>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/module_table.h"
#include "sampler/sample_table.h"
#include "sampler/signal_channel.h"
#include "sampler/stack_profile.h"
#include "sampler/unwinder.h"

namespace vigil::sampler {

inline constexpr int kCpuHzMin = 1;
inline constexpr int kCpuHzMax = 1000;
inline constexpr int kCpuHzDefault = 100;

struct CpuProfileOptions {
  int hz = kCpuHzDefault;  // samples per CPU-second of each thread; kCpuHzMin..kCpuHzMax
  MonotonicTime deadline = kNoDeadline;  // when the capture ends by itself
  SampleOptions samples = {};            // filters and labels
};

// Thread-safe: up to sigsafe::kSessionsMax captures run at once, each complete and each at its own
// rate.
class CpuProfiler {
 public:
  // All references must outlive the profiler and its running captures.
  CpuProfiler(Clock& clock, Modules& modules, Unwinder& unwinder, SignalChannel& channel);

  // Samples every thread of the process, but not the calling one (it is the collector), until the
  // deadline or until `stop` is requested, whichever is first; wakes at once for the latter, and
  // returns what it has by then. Threads are looked for every 10 ms, and what a new one has used by
  // then is made up for by the weight of its first sample; a thread that lives less than that is
  // seen with the probability of its share of that time. On a machine that is full the collector
  // gets to look later. What threads used that came and went unseen, or between their last sample
  // and their end, is known from the process's own CPU clock, and counted without a stack.
  //
  // The profile: types samples/count and cpu/nanoseconds, period 1e9 / hz cpu nanoseconds; one
  // sample for each distinct stack and set of labels. Counters: samples_lost (no free slot),
  // samples_without_stack, stacks_truncated (walks that did not reach the thread's first frame),
  // threads_unsampled (no timer could be made), threads_blocking_signal (have the signal blocked),
  // collector_cpu_ns, and those of SampleTable.
  //
  // Errors: invalid_argument (hz), busy (kSessionsMax captures run already), unsupported (no CPU
  // timers here). Cost: about 3 us for the sampled thread a sample, 15 us for the collector.
  Result<StackProfile> profile(const CpuProfileOptions& options, std::stop_token stop);

 private:
  Clock& clock_;
  Modules& modules_;
  Unwinder& unwinder_;
  SignalChannel& channel_;
};

}  // namespace vigil::sampler
