#include "endpoints/capture_gate.h"

#include <fmt/core.h>

namespace vigil::endpoints {

Result<CaptureGate::Pass> CaptureGate::enter() {
  if (running_.fetch_add(1) < captures_max_) return Pass(this);
  running_.fetch_sub(1);
  refused_.fetch_add(1);
  return Error(ErrorCode::kBusy,
               fmt::format("{} captures are running already, and no more may at once: try again "
                           "when one has ended",
                           captures_max_));
}

}  // namespace vigil::endpoints
