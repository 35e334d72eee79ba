// The library that ClockJumps preloads.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/clock_offsets.h"

namespace {

using vigil::test::ClockOffsets;

constinit ClockOffsets none{};
constinit std::atomic<ClockOffsets*> offsets{&none};

__attribute__((constructor)) void find_offsets() {
  const char* const path = ::getenv(vigil::test::kClockOffsetsVariable);
  if (path == nullptr) return;
  const int file = ::open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void* const page =
      ::mmap(nullptr, sizeof(ClockOffsets), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (page != MAP_FAILED) offsets = static_cast<ClockOffsets*>(page);
}

// How far `clock` is ahead of what the kernel says; clocks of processes and threads are never.
std::int64_t ahead_ns(clockid_t clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
      return offsets.load()->wall_ns;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
      return offsets.load()->monotonic_ns;
    default:
      return 0;
  }
}

timespec plus(const timespec& time, std::int64_t ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t sum = std::int64_t{time.tv_sec} * kSecond + time.tv_nsec + ns;
  return sum < 0 ? timespec{} : timespec{sum / kSecond, sum % kSecond};
}

// The kernel's time for one of ours.
timespec real(clockid_t clock, const timespec& time) { return plus(time, -ahead_ns(clock)); }

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {
// NOLINTBEGIN: the C library's names

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  // Not by dlsym(3), which may be what reads the clock.
  if (::syscall(SYS_clock_gettime, clock, time) != 0) return -1;
  const std::int64_t ahead = ahead_ns(clock);
  if (ahead != 0) *time = plus(*time, ahead);
  offsets.load()->looks.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

time_t time(time_t* into) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (into != nullptr) *into = now.tv_sec;
  return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                           const timespec* until) {
  static auto* const original =
      next<int(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait");
  const timespec there = real(CLOCK_REALTIME, *until);
  return original(condition, mutex, &there);
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const timespec* until) {
  static auto* const original =
      next<int(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>(
          "pthread_cond_clockwait");
  const timespec there = real(clock, *until);
  return original(condition, mutex, clock, &there);
}

int clock_nanosleep(clockid_t clock, int flags, const timespec* request, timespec* left) {
  static auto* const original =
      next<int(clockid_t, int, const timespec*, timespec*)>("clock_nanosleep");
  if ((flags & TIMER_ABSTIME) == 0) return original(clock, flags, request, left);
  const timespec there = real(clock, *request);
  return original(clock, flags, &there, left);
}
// NOLINTEND
}
