#include "base/clock.h"

#include <algorithm>
#include <cstdint>

namespace vigil {

int poll_timeout_ms(MonotonicTime now, MonotonicTime deadline) {
  if (deadline == kNoDeadline) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

void SystemClock::wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                             MonotonicTime deadline) {
  // wait_until() converts the deadline to the kernel's form; "never" would overflow there.
  if (deadline == kNoDeadline) {
    condition.wait(lock);
  } else {
    condition.wait_until(lock, deadline);
  }
}

}  // namespace vigil
