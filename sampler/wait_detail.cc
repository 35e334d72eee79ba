#include "sampler/wait_detail.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include <fmt/core.h>

#include "base/fd.h"
#include "base/socket_address.h"
#include "base/text.h"
#include "sampler/memory_reader.h"
#include "sampler/wait_reason.h"

namespace vigil::sampler {
namespace {

// How far from the innermost frame the waiting function may be: wrappers of libc and of an
// interposer are in between.
constexpr std::size_t kFramesLooked = 10;

struct WaitingFunction {
  std::string_view name;  // a prefix, without underscores in front
  WaitKind kind;
};

// The first frame that has one of these decides. `do_futex_wait` and its like are shared and so not
// listed.
constexpr std::array kWaitingFunctions = {
    WaitingFunction{"pthread_mutex_", WaitKind::kMutex},
    WaitingFunction{"pthread_cond_", WaitKind::kConditionVariable},
    WaitingFunction{"pthread_rwlock_", WaitKind::kReadWriteLock},
    WaitingFunction{"sem_", WaitKind::kSemaphore},
    WaitingFunction{"new_sem_", WaitKind::kSemaphore},
    WaitingFunction{"pthread_join", WaitKind::kJoin},
    WaitingFunction{"pthread_timedjoin", WaitKind::kJoin},
    WaitingFunction{"pthread_clockjoin", WaitKind::kJoin},
    WaitingFunction{"pthread_barrier_wait", WaitKind::kBarrier},
    WaitingFunction{"pthread_once", WaitKind::kOnce},
    WaitingFunction{"cxa_guard_acquire", WaitKind::kOnce},
};

// "__GI___pthread_mutex_lock" is "pthread_mutex_lock".
std::string_view bare_name(std::string_view name) {
  const auto strip = [&name] {
    name.remove_prefix(std::min(name.find_first_not_of('_'), name.size()));
  };
  strip();
  if (name.starts_with("GI_")) name.remove_prefix(3);
  strip();
  return name;
}

std::int64_t futex_operation(const ThreadSyscall& call) {
  return static_cast<std::int64_t>(call.args[1] & static_cast<std::uint64_t>(FUTEX_CMD_MASK));
}

bool is_futex_wait(const ThreadSyscall& call) {
  return call.kind == ThreadSyscall::Kind::kBlocked && call.number == SYS_futex;
}

// The head of pthread_mutex_t.
struct MutexHead {
  std::uint32_t lock = 0;
  std::uint32_t count = 0;
  std::int32_t owner = 0;
  std::uint32_t users = 0;
  std::int32_t kind = 0;
};
constexpr std::int32_t kRobust = 16;
constexpr std::int32_t kKindMask = 0x3FF;  // type, robust, priority protocol, shared, elision

constexpr std::uint64_t kLockedWithWaiters = 2;  // what glibc's __lll_lock_wait waits on

// The owner that the mutex at a waiting call's futex names, whether or not the wait has a timeout.
std::optional<LockWait> mutex_at(const ThreadSyscall& call) {
  if (!is_futex_wait(call)) return std::nullopt;
  const std::uintptr_t address = call.args[0];
  const auto head = read_object<MutexHead>(address);
  if (!head || (head->kind & ~kKindMask) != 0) return std::nullopt;
  const std::int64_t operation = futex_operation(call);
  const bool inherits_priority = operation == FUTEX_LOCK_PI || operation == FUTEX_LOCK_PI2;
  if (inherits_priority || (head->kind & kRobust) != 0) {
    const auto owner = static_cast<pid_t>(head->lock & FUTEX_TID_MASK);
    if (owner <= 0) return std::nullopt;
    return LockWait{WaitKind::kMutex, address, owner};
  }
  const bool waits = operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET;
  if (!waits || static_cast<std::uint32_t>(call.args[2]) != kLockedWithWaiters) return std::nullopt;
  if (head->lock == 0 || head->owner <= 0) return std::nullopt;
  return LockWait{WaitKind::kMutex, address, head->owner};
}

// pthread_join waits on the id in the other thread's descriptor, which the kernel clears and wakes at
// that thread's end; so the futex is not private to the process, which few others are.
std::optional<LockWait> join_at(const ThreadSyscall& call) {
  if ((call.args[1] & FUTEX_PRIVATE_FLAG) != 0) return std::nullopt;
  const auto joined = static_cast<pid_t>(call.args[2]);
  const auto word = read_object<pid_t>(call.args[0]);
  if (!word || *word != joined || joined <= 0 || !read_thread_name(joined)) return std::nullopt;
  return LockWait{WaitKind::kJoin, call.args[0], joined};
}

// A read-write lock's futexes are its fields at 8 and 12 (a reader may also wait on the one at 0),
// and the writer that holds it is at 24. Which field a wait is on is not told: the one whose lock
// names a thread of ours is right, and without any the address is taken as it is.
LockWait read_write_lock_at(std::uintptr_t futex) {
  constexpr std::size_t kWriterOffset = 24;
  for (const std::size_t field : {std::size_t{8}, std::size_t{12}, std::size_t{0}}) {
    const auto writer = read_object<std::int32_t>(futex - field + kWriterOffset);
    if (writer && *writer > 0 && read_thread_name(*writer)) {
      return {WaitKind::kReadWriteLock, futex - field, *writer};
    }
  }
  return {WaitKind::kReadWriteLock, futex, 0};
}

// What `descriptor` is open on: a path, "socket:[4711]"; empty if it is closed. By its link for
// descriptor_status()'s reason.
std::string target_of(int descriptor) {
  std::array<char, 512> path;
  const std::string link = fmt::format("/proc/self/fd/{}", descriptor);
  const ssize_t size = ::readlink(link.c_str(), path.data(), path.size());
  return size > 0 ? std::string(path.data(), static_cast<std::size_t>(size)) : std::string();
}

bool is_socket(std::string_view target) { return target.starts_with("socket:["); }

// "socket 12, peer 10.0.0.7:5432", "file 3 (/var/log/x)".
std::string descriptor_text(int descriptor) {
  const std::string target = target_of(descriptor);
  if (is_socket(target)) {
    const std::string peer = socket_peer_text(descriptor);
    return peer.empty() ? fmt::format("socket {}", descriptor)
                        : fmt::format("socket {}, peer {}", descriptor, peer);
  }
  return fmt::format("file {} ({})", descriptor, target);
}

bool is_write(std::int64_t number) {
  constexpr std::array kWrites = {SYS_write,    SYS_pwrite64, SYS_writev,   SYS_pwritev,
                                  SYS_pwritev2, SYS_sendto,   SYS_sendmsg,  SYS_sendmmsg,
                                  SYS_sendfile, SYS_fsync,    SYS_fdatasync};
  return std::find(kWrites.begin(), kWrites.end(), number) != kWrites.end();
}

WaitDetail transfer_wait(const ThreadSyscall& call) {
  WaitDetail wait;
  wait.descriptor = static_cast<int>(call.args[0]);
  const bool socket = is_socket(target_of(wait.descriptor));
  const bool writes = is_write(call.number);
  wait.kind = socket ? (writes ? WaitKind::kSocketWrite : WaitKind::kSocketRead)
                     : (writes ? WaitKind::kFileWrite : WaitKind::kFileRead);
  wait.text =
      fmt::format("{} {}", writes ? "write to" : "read from", descriptor_text(wait.descriptor));
  return wait;
}

// Whether it is where it was captured, as far as the kernel counts. If it is not, what its call's
// arguments point to may be anything by now: a stack that other calls use.
bool has_stayed(const ThreadStack& thread) {
  return !thread.times || read_thread_times(thread.tid) == thread.times;
}

// The descriptors of a poll, the first few of them.
WaitDetail poll_wait(const ThreadStack& thread) {
  constexpr std::uint64_t kShown = 4;
  const ThreadSyscall& call = thread.call;
  WaitDetail wait{.kind = WaitKind::kPoll, .text = std::string(syscall_name(call.number))};
  if (call.number != SYS_poll && call.number != SYS_ppoll) return wait;
  std::array<pollfd, kShown> polled{};
  const auto count = std::min(call.args[1], kShown);
  const auto into = std::span(polled).first(count);
  if (count == 0 || !read_memory(call.args[0], std::as_writable_bytes(into))) return wait;
  if (!has_stayed(thread)) return wait;
  wait.text = "poll of";
  for (const pollfd& one : into) wait.text += " " + descriptor_text(one.fd) + ";";
  wait.text.pop_back();
  if (call.args[1] > kShown) wait.text += fmt::format("; and {} more", call.args[1] - kShown);
  if (count == 1) wait.descriptor = polled[0].fd;
  return wait;
}

WaitDetail futex_wait(const ThreadSyscall& call, std::span<const TextFrame> frames) {
  WaitDetail wait{.kind = futex_kind(frames), .object = call.args[0]};
  const auto mutex = mutex_at(call);
  // A condition variable's wait ends with taking its mutex again. Without frames the memory decides
  // alone.
  const bool may_be_mutex =
      wait.kind == WaitKind::kMutex || wait.kind == WaitKind::kConditionVariable || frames.empty();
  if (may_be_mutex && mutex) {
    wait.kind = WaitKind::kMutex;
    wait.owner = mutex->owner;
  } else if (wait.kind == WaitKind::kReadWriteLock) {
    const LockWait lock = read_write_lock_at(call.args[0]);
    wait.object = lock.object;
    wait.owner = lock.owner;
  } else if (wait.kind == WaitKind::kJoin) {
    // The futex is the joined thread's id, which the kernel clears at its end.
    wait.owner = static_cast<pid_t>(call.args[2]);
    wait.object = 0;
    wait.text = fmt::format("end of thread {}", wait.owner);
    return wait;
  }
  wait.text = fmt::format("{} {}", wait_kind_name(wait.kind), hex_address(wait.object));
  if (wait.owner != 0) wait.text += fmt::format(" held by thread {}", wait.owner);
  return wait;
}

WaitDetail sleep_wait(const ThreadStack& thread) {
  const ThreadSyscall& call = thread.call;
  WaitDetail wait{.kind = WaitKind::kSleep, .text = "sleep"};
  const std::uintptr_t request = call.number == SYS_nanosleep ? call.args[0] : call.args[2];
  constexpr std::uint64_t kAbsolute = 1;  // TIMER_ABSTIME
  const bool relative = call.number == SYS_nanosleep ||
                        (call.number == SYS_clock_nanosleep && (call.args[1] & kAbsolute) == 0);
  if (!relative) return wait;
  constexpr long kNanoseconds = 1'000'000'000;
  const auto time = read_object<timespec>(request);
  // No time: the kernel would have refused it, so it was another's by then.
  const bool valid =
      time && time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < kNanoseconds;
  if (valid && has_stayed(thread)) {
    wait.text = "sleep of " + format_duration(std::chrono::seconds(time->tv_sec) +
                                              std::chrono::nanoseconds(time->tv_nsec));
  }
  return wait;
}

WaitDetail call_wait(const ThreadStack& thread, std::span<const TextFrame> frames) {
  const ThreadSyscall& call = thread.call;
  const std::string_view reason = wait_reason(call, thread.state);
  if (call.number == SYS_futex) return futex_wait(call, frames);
  if (reason == "sleep") return sleep_wait(thread);
  if (reason == "poll" || reason == "select" || reason == "epoll wait") return poll_wait(thread);
  const bool accepts = reason == "accept";
  if (accepts || reason == "connect") {
    const auto descriptor = static_cast<int>(call.args[0]);
    return {.kind = accepts ? WaitKind::kAccept : WaitKind::kConnect,
            .descriptor = descriptor,
            .text = fmt::format("{} on {}", reason, descriptor_text(descriptor))};
  }
  if (waiting_descriptor(call) >= 0 || is_write(call.number)) return transfer_wait(call);
  return {.kind = WaitKind::kOther, .text = std::string(reason)};
}

}  // namespace

std::string_view wait_kind_name(WaitKind kind) {
  constexpr std::array<std::string_view, 20> kNames = {"nothing",
                                                       "mutex",
                                                       "read-write lock",
                                                       "condition variable",
                                                       "semaphore",
                                                       "join",
                                                       "once",
                                                       "barrier",
                                                       "futex",
                                                       "sleep",
                                                       "socket read",
                                                       "socket write",
                                                       "file read",
                                                       "file write",
                                                       "accept",
                                                       "connect",
                                                       "poll",
                                                       "page fault",
                                                       "stopped",
                                                       "other"};
  return kNames.at(static_cast<std::size_t>(kind));
}

WaitKind futex_kind(std::span<const TextFrame> frames) {
  for (const TextFrame& frame : frames.first(std::min(frames.size(), kFramesLooked))) {
    const std::string_view name = bare_name(frame.function);
    for (const WaitingFunction& known : kWaitingFunctions) {
      if (name.starts_with(known.name)) return known.kind;
    }
  }
  return WaitKind::kFutex;
}

std::optional<LockWait> lock_wait(const ThreadSyscall& call) {
  if (!is_futex_wait(call) || call.args[3] != 0) return std::nullopt;
  if (const auto mutex = mutex_at(call)) return mutex;
  return join_at(call);
}

WaitDetail wait_detail(const ThreadStack& thread, std::span<const TextFrame> frames) {
  switch (thread.call.kind) {
    case ThreadSyscall::Kind::kRunning:
      return {};
    case ThreadSyscall::Kind::kStopped: {
      const std::string_view reason = wait_reason(thread.call, thread.state);
      const bool faults = reason == "page fault" || reason == "uninterruptible";
      return {.kind = faults ? WaitKind::kPageFault : WaitKind::kStopped,
              .text = faults ? "page fault" : std::string(reason)};
    }
    case ThreadSyscall::Kind::kBlocked:
      break;
  }
  return call_wait(thread, frames);
}

std::optional<ThreadTimes> read_thread_times(pid_t tid) {
  RunWitness witness(tid);
  return witness.read() ? witness.times() : std::nullopt;
}

}  // namespace vigil::sampler
