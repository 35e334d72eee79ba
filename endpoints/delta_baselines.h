// DeltaBaselines: what each client's last scrape of a delta page saw.
#pragma once

#include <cstddef>
#include <list>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "sampler/stack_profile.h"

namespace vigil::endpoints {

// Grafana's godeltaprof keeps one baseline in the process, so that two scrapers steal each other's differences. Here each
// client has its own, by `?id=`, else by its address and User-Agent. Thread-safe.
class DeltaBaselines {
 public:
  // Clients times pages; the one that came least recently is forgotten, and begins anew when it comes again. A baseline
  // takes about 300 bytes for each distinct stack.
  static constexpr std::size_t kBaselinesMax = 32;

  // `baselines_max` ≥ 1.
  explicit DeltaBaselines(std::size_t baselines_max = kBaselinesMax)
      : baselines_max_(baselines_max) {}

  // `now_seen` less what that client saw last, which it replaces. The first time the difference to itself: totals are zero,
  // in-use columns current, and the duration is zero.
  sampler::StackProfile exchange(const std::string& client, sampler::StackProfile now_seen,
                                 MonotonicTime now);

  std::size_t size() const;

 private:
  struct Baseline {
    std::string client;
    sampler::StackProfile profile;
    MonotonicTime seen{};
  };

  const std::size_t baselines_max_;
  mutable std::mutex mutex_;
  std::list<Baseline> baselines_;  // guarded by mutex_; latest first
};

}  // namespace vigil::endpoints
