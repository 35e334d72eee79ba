#include "sampler/cpu_timers.h"

#include <errno.h>
#include <signal.h>

#include <algorithm>
#include <numeric>
#include <utility>

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

// Nothing: there is no such thread any more.
std::optional<std::int64_t> read_ns(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) return std::nullopt;
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
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

CpuTimers::~CpuTimers() {
  for (const auto& [tid, thread] : threads_) {
    if (thread.timer) timer_delete(*thread.timer);
  }
}

void CpuTimers::forget(const Thread& gone) {
  if (gone.timer) timer_delete(*gone.timer);
  ended_sampled_ += gone.sampled;
}

void CpuTimers::disarm() {
  const std::int64_t process_cpu_ns = read_ns(CLOCK_PROCESS_CPUTIME_ID).value_or(0);
  std::int64_t live_cpu_ns = 0;
  for (auto entry = threads_.begin(); entry != threads_.end();) {
    auto& [tid, thread] = *entry;
    const auto used = read_ns(cpu_clock_of(tid));
    if (!used) {
      forget(thread);
      entry = threads_.erase(entry);
      continue;
    }
    live_cpu_ns += *used - thread.cpu_ns_before;
    if (thread.timer) timer_delete(*thread.timer);
    thread.timer.reset();
    ++entry;
  }
  ended_cpu_ns_ = process_cpu_ns - process_cpu_ns_before_ - live_cpu_ns;
}

std::int64_t CpuTimers::count(pid_t tid, std::int64_t weight) {
  const auto found = threads_.find(tid);
  if (found == threads_.end()) {
    ended_sampled_ += weight;
    return weight;
  }
  weight += std::exchange(found->second.credit, 0);
  found->second.sampled += weight;
  return weight;
}

std::int64_t CpuTimers::unsampled(std::int64_t lost) const {
  const std::int64_t of_ended = ended_cpu_ns_ / period_.count() - ended_sampled_ - lost;
  return std::accumulate(
      threads_.begin(), threads_.end(), std::max(of_ended, std::int64_t{0}),
      [](std::int64_t sum, const auto& entry) { return sum + entry.second.credit; });
}

std::size_t CpuTimers::blocking() const {
  return static_cast<std::size_t>(
      std::count_if(threads_.begin(), threads_.end(), [this](const auto& entry) {
        if (!entry.second.timer) return false;
        const auto status = read_thread_status(entry.first);
        return status && status->blocks(signal_number_);
      }));
}

void CpuTimers::arm(pid_t tid, Met met, Thread& thread) {
  const auto used = read_ns(cpu_clock_of(tid));
  if (!used) return;  // gone already
  if (met == Met::kAtStart) {
    thread.cpu_ns_before = *used;
    // A thread that begins later gets its timer before it can have restricted itself.
    const auto status = read_thread_status(tid);
    if (status && status->calls == ThreadStatus::Calls::kStrict) {
      ++refused_;
      return;
    }
  }
  thread.timer = make_cpu_timer(tid, signal_number_, value_);
  if (!thread.timer) {
    // EINVAL: the thread is gone.
    if (errno != EINVAL && errno != ESRCH) ++refused_;
    return;
  }
  const std::int64_t period = period_.count();
  // An expiry is delivered at the next tick, and those of a thread's last tick never are: on average
  // half a tick of each life. A thread whose begin we know has its expiries earlier by as much.
  const std::int64_t begin = met == Met::kAtStart ? *used : -half_tick_.count();
  std::uniform_int_distribution<std::int64_t> phase(1, period);
  const std::int64_t first = begin + phase(random_);
  thread.credit = *used < first ? 0 : (*used - first) / period + 1;
  // Absolute, and in the future: a timer that had expired when it is set would send its signal at
  // once, to a thread that may be asleep.
  const itimerspec when{to_timespec(period_),
                        to_timespec(std::chrono::nanoseconds(first + thread.credit * period))};
  timer_settime(*thread.timer, TIMER_ABSTIME, &when, nullptr);
}

void CpuTimers::follow(std::span<const pid_t> tids, pid_t excluded) {
  std::erase_if(threads_, [&](const auto& entry) {
    if (std::binary_search(tids.begin(), tids.end(), entry.first)) return false;
    forget(entry.second);
    return true;
  });
  for (const pid_t tid : tids) {
    const auto [thread, is_new] = threads_.try_emplace(tid);
    if (!is_new) continue;
    if (tid != excluded) {
      arm(tid, met_, thread->second);
    } else {
      thread->second.cpu_ns_before = read_ns(cpu_clock_of(tid)).value_or(0);
    }
  }
  if (std::exchange(met_, Met::kSince) == Met::kAtStart) {
    process_cpu_ns_before_ = read_ns(CLOCK_PROCESS_CPUTIME_ID).value_or(0);
  }
}

}  // namespace vigil::sampler
