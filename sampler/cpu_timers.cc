#include "sampler/cpu_timers.h"

#include <errno.h>
#include <signal.h>

#include <algorithm>

#include "sampler/proc_thread.h"

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

// How often the kernel looks at CPU timers: the coarse clock advances once a tick.
std::chrono::nanoseconds tick_length() {
  timespec length{};
  clock_getres(CLOCK_MONOTONIC_COARSE, &length);
  return std::chrono::seconds(length.tv_sec) + std::chrono::nanoseconds(length.tv_nsec);
}

}  // namespace

std::optional<timer_t> make_cpu_timer(pid_t tid, int signal_number, std::uint64_t value) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal_number;
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(value);
  event.sigev_notify_thread_id = tid;
  timer_t timer{};
  if (timer_create(cpu_clock_of(tid), &event, &timer) != 0) return std::nullopt;
  return timer;
}

CpuTimers::CpuTimers(int signal_number, std::uint64_t value, std::chrono::nanoseconds period)
    : signal_number_(signal_number),
      value_(value),
      period_(period),
      random_(std::random_device()()),
      half_tick_(tick_length() / 2) {}

CpuTimers::~CpuTimers() { disarm(); }

void CpuTimers::disarm() {
  for (const auto& [tid, timer] : timers_) timer_delete(timer);
  timers_.clear();
}

std::int64_t CpuTimers::take_credit(pid_t tid) {
  const auto node = credits_.extract(tid);
  return node.empty() ? 0 : node.mapped();
}

void CpuTimers::drop_credit(pid_t tid) { lost_credit_ += take_credit(tid); }

void CpuTimers::forget_credits() {
  while (!credits_.empty()) drop_credit(credits_.begin()->first);
}

std::size_t CpuTimers::blocking() const {
  return static_cast<std::size_t>(
      std::count_if(timers_.begin(), timers_.end(), [this](const auto& entry) {
        const auto status = read_thread_status(entry.first);
        return status && status->blocks(signal_number_);
      }));
}

void CpuTimers::arm(pid_t tid, Met met) {
  // A thread that begins later gets its timer before it can have restricted itself.
  if (met == Met::kAtStart) {
    const auto status = read_thread_status(tid);
    if (status && status->calls == ThreadStatus::Calls::kStrict) {
      refused_.emplace(tid, EPERM);
      ++refused_total_;
      return;
    }
  }
  const std::optional<timer_t> made = make_cpu_timer(tid, signal_number_, value_);
  if (!made) {
    // EINVAL: the thread is gone already, nothing was missed that could have been seen.
    const int reason = errno;
    refused_.emplace(tid, reason);
    if (reason != EINVAL && reason != ESRCH) ++refused_total_;
    return;
  }
  const timer_t timer = *made;
  try {
    timers_.emplace(tid, timer);
  } catch (...) {  // nobody would know of it
    timer_delete(timer);
    throw;
  }
  timespec clock{};
  if (clock_gettime(cpu_clock_of(tid), &clock) != 0) {  // gone meanwhile
    timer_delete(timer);
    timers_.erase(tid);
    refused_.emplace(tid, ESRCH);
    return;
  }
  const std::int64_t used = std::int64_t{clock.tv_sec} * 1'000'000'000 + clock.tv_nsec;
  const std::int64_t period = period_.count();
  // An expiry is delivered at the next tick, and those of a thread's last tick never are: on average
  // half a tick of each life. A thread whose begin we know has its expiries earlier by as much.
  const std::int64_t begin = met == Met::kAtStart ? used : -half_tick_.count();
  std::uniform_int_distribution<std::int64_t> phase(1, period);
  const std::int64_t first = begin + phase(random_);
  const std::int64_t missed = used < first ? 0 : (used - first) / period + 1;
  if (missed > 0) credits_[tid] = missed;
  // Absolute, and in the future: a timer that had expired when it is set would send its signal at
  // once, to a thread that may be asleep.
  const itimerspec when{to_timespec(period_),
                        to_timespec(std::chrono::nanoseconds(first + missed * period))};
  timer_settime(timer, TIMER_ABSTIME, &when, nullptr);
}

void CpuTimers::follow(std::span<const pid_t> tids, pid_t excluded) {
  const auto is_gone = [&](pid_t tid) {
    return !std::binary_search(tids.begin(), tids.end(), tid);
  };
  std::erase_if(timers_, [&](const auto& entry) {
    if (!is_gone(entry.first)) return false;
    timer_delete(entry.second);
    drop_credit(entry.first);
    return true;
  });
  std::erase_if(refused_, [&](const auto& entry) { return is_gone(entry.first); });
  for (const pid_t tid : tids) {
    if (tid != excluded && !timers_.contains(tid) && !refused_.contains(tid)) arm(tid, met_);
  }
  met_ = Met::kSince;
}

}  // namespace vigil::sampler
