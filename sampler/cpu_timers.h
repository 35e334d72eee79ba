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
// `period` of it, and an account of what that leaves out. The timers end with the object, with the
// process, and are not inherited by a forked child (timer_create(2)). Not thread-safe. Cost: three
// system calls a thread, once, and two at the end.
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

  // To be called with each sample: its weight, and the credit of its thread if it is the first.
  std::int64_t count(pid_t tid, std::int64_t weight);

  // Deletes all timers, after the last follow().
  void disarm();
  // After disarm() and the last count(): expiries that no sample stands for. Threads came and went
  // between two calls of follow(), or ended behind their last tick; on a machine that is full both
  // are longer times. So this is what the process has used by its own clock, less the threads that
  // were there at the end and the samples of the others; and credits of threads that never ran
  // again. `lost`: expiries that came, but had no slot.
  std::int64_t unsampled(std::int64_t lost) const;

  // Threads that no timer could be made for (RLIMIT_SIGPENDING counts timers; seccomp may refuse),
  // or whose strict seccomp would have the signal's handler end them, each counted once.
  std::size_t refused() const { return refused_; }
  // Threads with a timer whose signal they block now: none of their time is sampled. Reads a file of /proc for each.
  std::size_t blocking() const;

 private:
  struct Thread {
    std::optional<timer_t> timer = {};  // none: refused, or the one that is excluded
    std::int64_t cpu_ns_before = 0;     // what it had used when it came into the account
    std::int64_t credit = 0;
    std::int64_t sampled = 0;
  };
  enum class Met : std::uint8_t { kAtStart, kSince };
  void arm(pid_t tid, Met met, Thread& thread);
  void forget(const Thread& gone);

  int signal_number_;
  std::uint64_t value_;
  std::chrono::nanoseconds period_;
  std::minstd_rand random_;
  std::map<pid_t, Thread> threads_;
  std::size_t refused_ = 0;
  Met met_ = Met::kAtStart;
  std::chrono::nanoseconds half_tick_;
  std::int64_t process_cpu_ns_before_ = 0;
  std::int64_t ended_cpu_ns_ = 0;  // of threads that have ended, from disarm() on
  std::int64_t ended_sampled_ = 0;
};

}  // namespace vigil::sampler
