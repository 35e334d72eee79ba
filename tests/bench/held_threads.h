// How long a capture holds the thread that is captured, as that thread sees it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/module_table.h"
#include "sampler/signal_channel.h"
#include "sampler/unwinder.h"

namespace vigil::bench {

// Of one capture each, in microseconds.
struct HeldTimes {
  double p50 = 0;
  double p99 = 0;
  double p999 = 0;
  double most = 0;
};

struct RunningThread {
  std::size_t captures = 0;
  std::size_t stack_bytes = 0;  // copied each time
  HeldTimes handler_us;         // between the signal handler's begin and its end
  HeldTimes held_us;     // the longest pause of a thread that does nothing but look at the time
  HeldTimes without_us;  // the same over as long a time without a capture: the machine's doing
};

// Captures a running thread, whose live stack is a little over 16 KiB, `count` times by signal.
RunningThread hold_running_thread(sampler::SignalChannel& channel, Clock& clock, int count);

struct BlockedThreads {
  std::size_t captures = 0;
  double held_us_max = 0;
  std::uint64_t runs = 0;  // how often any of them was put on a processor meanwhile
};

// Captures `threads` threads that wait `rounds` times, each time anew. An error if one of them was
// not captured whole.
Result<BlockedThreads> hold_blocked_threads(sampler::SignalChannel& channel, Clock& clock,
                                            sampler::Modules& modules, sampler::Unwinder& unwinder,
                                            int threads, int rounds);

}  // namespace vigil::bench
