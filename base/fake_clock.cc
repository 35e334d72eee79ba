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
  {
    std::lock_guard clock_lock(mutex_);
    if (MonotonicTime(elapsed_) >= deadline) return;
    ++waiters_;
  }
  // One slice, then back to the caller, who loops: a notification that comes just as the slice ends
  // is reported by the condition variable as a timeout, and only the caller can see what it was
  // about.
  condition.wait_for(lock, std::chrono::milliseconds(1));
  std::lock_guard clock_lock(mutex_);
  --waiters_;
}

}  // namespace vigil
