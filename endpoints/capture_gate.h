// CaptureGate: how many captures may run at once. Every page that takes its seconds goes through
// it: CPU, wall, and the deltas of snapshots (pages.cc asks for them all).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/result.h"

namespace vigil::endpoints {

// Thread-safe.
class CaptureGate {
 public:
  static constexpr int kCapturesMax = 8;

  // `captures_max` ≥ 1.
  explicit CaptureGate(int captures_max = kCapturesMax) : captures_max_(captures_max) {}
  CaptureGate(const CaptureGate&) = delete;
  CaptureGate& operator=(const CaptureGate&) = delete;

  // A capture's place, until it is destroyed. The gate must outlive it.
  struct Leave {
    void operator()(CaptureGate* gate) const { gate->running_.fetch_sub(1); }
  };
  using Pass = std::unique_ptr<CaptureGate, Leave>;

  // busy: as many as may run at once run already. Counted.
  Result<Pass> enter();

  int running() const { return running_.load(); }
  std::uint64_t refused() const { return refused_.load(); }

 private:
  const int captures_max_;
  std::atomic<int> running_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace vigil::endpoints
