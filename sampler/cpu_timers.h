// One CPU-time timer for each thread of the process.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <span>

namespace vigil::sampler {

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
  // deletes those of threads that are gone. The first expiry comes after a random part of the
  // period; with a fixed phase, threads that live shorter than a period would never be seen.
  void follow(std::span<const pid_t> tids, pid_t excluded);

  std::size_t armed() const { return timers_.size(); }
  // Threads that no timer could be made for (RLIMIT_SIGPENDING counts timers; seccomp may refuse),
  // each counted once.
  std::size_t refused() const { return refused_total_; }

 private:
  void arm(pid_t tid);

  int signal_number_;
  std::uint64_t value_;
  std::chrono::nanoseconds period_;
  std::minstd_rand random_;
  std::map<pid_t, timer_t> timers_;
  std::map<pid_t, int> refused_;  // thread -> errno: not tried again
  std::size_t refused_total_ = 0;
};

}  // namespace vigil::sampler
