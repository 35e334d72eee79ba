#include "endpoints/delta_baselines.h"

#include <algorithm>
#include <utility>

#include "sampler/profile_delta.h"

namespace vigil::endpoints {

sampler::StackProfile DeltaBaselines::exchange(const std::string& client,
                                               sampler::StackProfile now_seen, MonotonicTime now) {
  Baseline next{client, now_seen, now};
  Baseline last{client, now_seen, now};
  {
    const std::lock_guard lock(mutex_);
    const auto known =
        std::find_if(baselines_.begin(), baselines_.end(),
                     [&](const Baseline& baseline) { return baseline.client == client; });
    // A source that changed its columns meanwhile (the sampler was switched off and on) begins anew.
    if (known != baselines_.end() && known->profile.sample_types == now_seen.sample_types) {
      last = std::move(*known);
    }
    if (known != baselines_.end()) baselines_.erase(known);
    baselines_.push_front(std::move(next));
    if (baselines_.size() > baselines_max_) baselines_.pop_back();
  }
  return sampler::subtract(std::move(now_seen), std::move(last.profile), now - last.seen);
}

std::size_t DeltaBaselines::size() const {
  const std::lock_guard lock(mutex_);
  return baselines_.size();
}

}  // namespace vigil::endpoints
