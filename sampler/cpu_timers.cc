#include "sampler/cpu_timers.h"

#include <errno.h>
#include <signal.h>

#include <algorithm>

// glibc 2.36 does not name the member that SIGEV_THREAD_ID uses.
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace vigil::sampler {
namespace {

// The CPU clock of a thread by its id: what pthread_getcpuclockid() computes, which needs a
// pthread_t. CPUCLOCK_PERTHREAD (4) | CPUCLOCK_SCHED (2), include/linux/posix-timers.h.
clockid_t cpu_clock_of(pid_t tid) {
  return static_cast<clockid_t>(~static_cast<unsigned>(tid) << 3 | 6u);
}

timespec to_timespec(std::chrono::nanoseconds duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {seconds.count(), (duration - seconds).count()};
}

}  // namespace

CpuTimers::CpuTimers(int signal_number, std::uint64_t value, std::chrono::nanoseconds period)
    : signal_number_(signal_number),
      value_(value),
      period_(period),
      random_(std::random_device()()) {}

CpuTimers::~CpuTimers() {
  for (const auto& [tid, timer] : timers_) timer_delete(timer);
}

void CpuTimers::arm(pid_t tid) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal_number_;
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(value_);
  event.sigev_notify_thread_id = tid;
  timer_t timer{};
  if (timer_create(cpu_clock_of(tid), &event, &timer) != 0) {
    // EINVAL: the thread is gone already, nothing was missed that could have been seen.
    const int reason = errno;
    refused_.emplace(tid, reason);
    if (reason != EINVAL && reason != ESRCH) ++refused_total_;
    return;
  }
  std::uniform_int_distribution<std::int64_t> phase(1, period_.count());
  const itimerspec when{to_timespec(period_),
                        to_timespec(std::chrono::nanoseconds(phase(random_)))};
  timer_settime(timer, 0, &when, nullptr);
  timers_.emplace(tid, timer);
}

void CpuTimers::follow(std::span<const pid_t> tids, pid_t excluded) {
  const auto is_gone = [&](pid_t tid) {
    return !std::binary_search(tids.begin(), tids.end(), tid);
  };
  std::erase_if(timers_, [&](const auto& entry) {
    if (!is_gone(entry.first)) return false;
    timer_delete(entry.second);
    return true;
  });
  std::erase_if(refused_, [&](const auto& entry) { return is_gone(entry.first); });
  for (const pid_t tid : tids) {
    if (tid != excluded && !timers_.contains(tid) && !refused_.contains(tid)) arm(tid);
  }
}

}  // namespace vigil::sampler
