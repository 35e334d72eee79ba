#include "server-core/handler_profile.h"

#include <algorithm>

namespace vigil::http {

void HandlerProfile::record(Duration took) {
  if (runs_inline()) return record_inline(took);
  if (took >= kShort) {
    streak_.store(0, std::memory_order_relaxed);
    return;
  }
  const std::uint32_t streak = streak_.load(std::memory_order_relaxed) + 1;
  streak_.store(streak, std::memory_order_relaxed);
  if (streak >= streak_needed_.load(std::memory_order_relaxed)) {
    inline_.store(true, std::memory_order_relaxed);
  }
}

void HandlerProfile::record_inline(Duration took) {
  const std::uint32_t debt = debt_.load(std::memory_order_relaxed);
  if (took <= kLong) {
    if (debt > 0) debt_.store(debt - 1, std::memory_order_relaxed);
    return;
  }
  const std::uint32_t more = debt + kForgivenAfter;
  debt_.store(more, std::memory_order_relaxed);
  if (more > (kStrikes - 1) * kForgivenAfter) demote();
}

void HandlerProfile::record_rescue() { demote(); }

void HandlerProfile::demote() {
  streak_.store(0, std::memory_order_relaxed);
  debt_.store(0, std::memory_order_relaxed);
  // Only a promotion that went wrong raises the bar: a handler that always blocks stays at the
  // first one, and a service that blocks while it warms up is inline soon after.
  if (!inline_.exchange(false, std::memory_order_relaxed)) return;
  const std::uint32_t needed = streak_needed_.load(std::memory_order_relaxed);
  streak_needed_.store(std::min(needed * 2, kStreakMax), std::memory_order_relaxed);
}

}  // namespace vigil::http
