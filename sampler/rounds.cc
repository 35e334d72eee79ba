#include "sampler/rounds.h"

#include <time.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "sampler/own_wait.h"

namespace vigil::sampler {

void run_rounds(Clock& clock, MonotonicTime deadline, const std::stop_token& stop,
                const std::function<MonotonicTime(MonotonicTime now)>& round) {
  std::mutex mutex;
  std::condition_variable wake;
  // Takes the mutex, so that a stop between our look at `stop` and our sleep is not missed.
  const std::stop_callback on_stop(stop, [&] {
    const std::lock_guard lock(mutex);
    wake.notify_all();
  });
  std::unique_lock lock(mutex);
  while (true) {
    // Before the round: one that began before the deadline is not the last.
    const bool is_last = stop.stop_requested() || clock.now() >= deadline;
    lock.unlock();
    const MonotonicTime next = std::min(round(clock.now()), deadline);
    lock.lock();
    if (is_last) return;
    const OwnWait between_rounds;
    while (!stop.stop_requested() && clock.now() < next) clock.wait_until(lock, wake, next);
  }
}

std::int64_t own_cpu_ns() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec;
}

}  // namespace vigil::sampler
