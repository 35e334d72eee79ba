// The loop of a collector: a round, a sleep, a round, until the deadline or a stop.
#pragma once

#include <functional>
#include <stop_token>

#include "base/clock.h"

namespace vigil::sampler {

// Calls `round(now)` at once, then whenever the time that it returned has come, and a last time at
// `deadline` or when `stop` is requested, whichever is first; returns after that one. A stop ends a
// sleep, not a round.
void run_rounds(Clock& clock, MonotonicTime deadline, const std::stop_token& stop,
                const std::function<MonotonicTime(MonotonicTime now)>& round);

// CPU time of the calling thread.
std::int64_t own_cpu_ns();

}  // namespace vigil::sampler
