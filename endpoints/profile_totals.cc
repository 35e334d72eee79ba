#include "endpoints/profile_totals.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace vigil::endpoints {
namespace {

// What collectors count that is no loss: work done, and what the client has filtered out.
constexpr std::array<std::string_view, 3> kNoLosses = {"looks", "looks_reused", "samples_filtered"};

bool is_loss(std::string_view counter) {
  return std::find(kNoLosses.begin(), kNoLosses.end(), counter) == kNoLosses.end();
}

}  // namespace

void ProfileTotals::add(const sampler::StackProfile& profile) {
  const std::lock_guard lock(mutex_);
  Total& total = totals_[profile.name];
  ++total.profiles;
  total.span = profile.counter_span;
  // What is counted since the start anyway must not be added up again with each profile.
  if (profile.counter_span == sampler::CounterSpan::kSinceStart) return;
  for (const sampler::StackSample& sample : profile.samples) {
    if (!sample.values.empty()) total.samples += sample.values.front();
  }
  for (const auto& [counter, count] : profile.counters) {
    if (counter == "collector_cpu_ns") {
      total.collector_cpu_ns += count;
    } else if (is_loss(counter)) {
      total.losses[counter] += count;
    }
  }
}

std::map<std::string, ProfileTotals::Total> ProfileTotals::read() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

}  // namespace vigil::endpoints
