#include "base/clock.h"

namespace vigil {

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
