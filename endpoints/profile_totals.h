// ProfileTotals: what profiles have cost and lost since the program began, for the metrics pages.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "sampler/stack_profile.h"

namespace vigil::endpoints {

// Thread-safe.
class ProfileTotals {
 public:
  // Of all profiles of one name. Of those that count since the start (heap, mutex, …) only
  // `profiles`: what these have lost is a metric of its collector.
  struct Total {
    std::uint64_t profiles = 0;
    // kSinceStart: the fields below have no meaning.
    sampler::CounterSpan span = sampler::CounterSpan::kProfile;
    // Of the first column: samples, threads.
    std::int64_t samples = 0;
    std::int64_t collector_cpu_ns = 0;
    // StackProfile::counters by name, but for the collector's CPU: what was lost, and why.
    std::map<std::string, std::int64_t, std::less<>> losses;
  };

  void add(const sampler::StackProfile& profile);
  std::map<std::string, Total> read() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Total> totals_;  // guarded by mutex_
};

}  // namespace vigil::endpoints
