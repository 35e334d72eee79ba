// One CPU-time timer for each thread of the process.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <span>

namespace vigil::sampler {

// A timer, not yet running, that sends `signal_number` with `value` to thread `tid` when that
// thread has used the CPU time it is set to; nullopt with errno if there can be none (EINVAL: no
// such thread).
//
// Its signal interrupts no system call, whatever its kind: the kernel sends it on the thread's way
// back to user mode, never while the thread sleeps (CONFIG_POSIX_CPU_TIMERS_TASK_WORK, all x86
// kernels since 5.9; 22 kinds of calls tried, tests/sampler/capture/interruption_test.cc).
std::optional<timer_t> make_cpu_timer(pid_t tid, int signal_number, std::uint64_t value);

// Timers that send `signal_number` with `value` to the thread whose CPU time they measure, each
// `period` of it. The timers end with the object, with the process, and are not inherited by a
// forked child (timer_create(2)). Not thread-safe. Cost: three system calls a thread, once.
class CpuTimers {
 public:
  CpuTimers(int signal_number, std::uint64_t value, std::chrono::nanoseconds period);
  ~CpuTimers();
  CpuTimers(const CpuTimers&) = delete;
  CpuTimers& operator=(const CpuTimers&) = delete;

  // Makes the set of timers that of `tids` (ascending), except `excluded`: arms new threads,
  // deletes those of threads that are gone. A thread's expiries begin after a random part of the
  // period; with a fixed phase, threads that live shorter than a period would never be seen.
  //
  // The first call meets threads that have run for long, each later one threads that began since
  // the call before. Those have run already, unsampled: expiries that would have come by then are
  // the thread's credit.
  void follow(std::span<const pid_t> tids, pid_t excluded);

  // Expiries that `tid` has missed, once: to be added to the weight of its first sample.
  std::int64_t take_credit(pid_t tid);
  // Credits of threads that are gone and of which none was taken.
  std::int64_t lost_credit() const { return lost_credit_; }

  // Deletes all timers. Credits stay until they are taken, or lost.
  void disarm();
  // No more samples will come: what credit is left is lost.
  void forget_credits();

  std::size_t armed() const { return timers_.size(); }
  // Threads that no timer could be made for (RLIMIT_SIGPENDING counts timers; seccomp may refuse),
  // or whose strict seccomp would have the signal's handler end them, each counted once.
  std::size_t refused() const { return refused_total_; }
  // Threads with a timer whose signal they block now: none of their time is sampled. Reads a file of /proc for each.
  std::size_t blocking() const;

 private:
  enum class Met : std::uint8_t { kAtStart, kSince };
  void arm(pid_t tid, Met met);
  void drop_credit(pid_t tid);

  int signal_number_;
  std::uint64_t value_;
  std::chrono::nanoseconds period_;
  std::minstd_rand random_;
  std::map<pid_t, timer_t> timers_;
  std::map<pid_t, int> refused_;  // thread -> errno: not tried again
  std::size_t refused_total_ = 0;
  Met met_ = Met::kAtStart;
  std::chrono::nanoseconds half_tick_;
  std::map<pid_t, std::int64_t> credits_;
  std::int64_t lost_credit_ = 0;
};

}  // namespace vigil::sampler
