#include "base/fake_clock.h"

#include <cassert>

namespace vigil {

MonotonicTime FakeClock::now() const {
  std::lock_guard lock(mutex_);
  return MonotonicTime(elapsed_);
}

WallTime FakeClock::wall_now() const {
  std::lock_guard lock(mutex_);
  return WallTime(elapsed_);
}

void FakeClock::advance(Duration by) {
  assert(by >= Duration::zero());
  std::lock_guard lock(mutex_);
  elapsed_ += by;
}

std::size_t FakeClock::waiters() const {
  std::lock_guard lock(mutex_);
  return waiters_;
}

void FakeClock::wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                           MonotonicTime deadline) {
  constexpr auto kSlice = std::chrono::milliseconds(1);
  {
    std::lock_guard clock_lock(mutex_);
    if (MonotonicTime(elapsed_) >= deadline) return;
    ++waiters_;
  }
  while (now() < deadline) {
    if (condition.wait_for(lock, kSlice) == std::cv_status::no_timeout) break;
  }
  std::lock_guard clock_lock(mutex_);
  --waiters_;
}

}  // namespace vigil
