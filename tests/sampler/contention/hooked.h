// For tests of the interposed functions: a profiler with everything that it needs, and names.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "sampler/contention_profiler.h"
#include "tests/sampler/frame_names.h"

namespace vigil::sampler::test {

inline bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Count and delay of the samples whose stacks have a function.
struct Sums {
  std::int64_t count = 0;
  std::int64_t delay_ns = 0;
};

struct Hooked {
  SystemClock clock;
  Modules modules;
  Unwinder unwinder{modules};
  std::unique_ptr<ContentionProfiler> profiler;

  explicit Hooked(Duration rate) {
    auto created = ContentionProfiler::create({.rate = rate}, clock, modules, unwinder);
    if (!created) throw std::runtime_error(created.error().message());
    profiler = *std::move(created);
  }

  std::vector<StackSample> samples(WaitView view) {
    auto profile = profiler->waits(view);
    if (!profile) throw std::runtime_error(profile.error().message());
    return std::move(profile->samples);
  }

  Sums sums(WaitView view, const std::string& function) {
    Sums sums;
    for (const StackSample& sample : samples(view)) {
      if (!has(frame_names(sample.stack), function)) continue;
      sums.count += sample.values[0];
      sums.delay_ns += sample.values[1];
    }
    return sums;
  }

  // Until `count` threads wait for mutexes and rwlocks; false after 10 s.
  bool wait_for_waiters(std::uint64_t count) {
    const MonotonicTime deadline = clock.now() + std::chrono::seconds(10);
    while (profiler->counters().waiting != count) {
      if (clock.now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
};

}  // namespace vigil::sampler::test
