#include "sampler/wait_reason.h"

#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <algorithm>
#include <array>

#include "sampler/descriptor_status.h"

namespace vigil::sampler {
namespace {

// What SA_RESTART does for a blocked call, signal(7).
enum class OnSignal : std::uint8_t {
  kInterrupted,   // EINTR whatever the flags
  kRestarted,     // always started again
  kByDescriptor,  // started again unless the descriptor (first argument) says otherwise
  kByTimeout,     // futex: started again unless it has a timeout (fourth argument)
};

struct BlockingCall {
  std::int64_t number;
  std::string_view name;
  std::string_view reason;
  OnSignal on_signal;
};

using enum OnSignal;

// x86-64. Sources: signal(7) "Interruption of system calls", and the kernel's ERESTARTSYS against
// ERESTARTNOHAND and ERESTART_RESTARTBLOCK.
constexpr std::array kCalls = {
    BlockingCall{SYS_read, "read", "IO wait", kByDescriptor},
    BlockingCall{SYS_pread64, "pread64", "IO wait", kByDescriptor},
    BlockingCall{SYS_readv, "readv", "IO wait", kByDescriptor},
    BlockingCall{SYS_preadv, "preadv", "IO wait", kByDescriptor},
    BlockingCall{SYS_preadv2, "preadv2", "IO wait", kByDescriptor},
    BlockingCall{SYS_write, "write", "IO wait", kByDescriptor},
    BlockingCall{SYS_pwrite64, "pwrite64", "IO wait", kByDescriptor},
    BlockingCall{SYS_writev, "writev", "IO wait", kByDescriptor},
    BlockingCall{SYS_pwritev, "pwritev", "IO wait", kByDescriptor},
    BlockingCall{SYS_pwritev2, "pwritev2", "IO wait", kByDescriptor},
    BlockingCall{SYS_recvfrom, "recvfrom", "IO wait", kByDescriptor},
    BlockingCall{SYS_recvmsg, "recvmsg", "IO wait", kByDescriptor},
    BlockingCall{SYS_recvmmsg, "recvmmsg", "IO wait", kInterrupted},
    BlockingCall{SYS_sendto, "sendto", "IO wait", kByDescriptor},
    BlockingCall{SYS_sendmsg, "sendmsg", "IO wait", kByDescriptor},
    BlockingCall{SYS_sendmmsg, "sendmmsg", "IO wait", kInterrupted},
    BlockingCall{SYS_sendfile, "sendfile", "IO wait", kInterrupted},
    BlockingCall{SYS_splice, "splice", "IO wait", kInterrupted},
    BlockingCall{SYS_fsync, "fsync", "IO wait", kRestarted},
    BlockingCall{SYS_fdatasync, "fdatasync", "IO wait", kRestarted},
    BlockingCall{SYS_accept, "accept", "accept", kByDescriptor},
    BlockingCall{SYS_accept4, "accept4", "accept", kByDescriptor},
    BlockingCall{SYS_connect, "connect", "connect", kByDescriptor},
    BlockingCall{SYS_poll, "poll", "poll", kInterrupted},
    BlockingCall{SYS_ppoll, "ppoll", "poll", kInterrupted},
    BlockingCall{SYS_select, "select", "select", kInterrupted},
    BlockingCall{SYS_pselect6, "pselect6", "select", kInterrupted},
    BlockingCall{SYS_epoll_wait, "epoll_wait", "epoll wait", kInterrupted},
    BlockingCall{SYS_epoll_pwait, "epoll_pwait", "epoll wait", kInterrupted},
    BlockingCall{SYS_epoll_pwait2, "epoll_pwait2", "epoll wait", kInterrupted},
    BlockingCall{SYS_io_uring_enter, "io_uring_enter", "IO wait", kInterrupted},
    BlockingCall{SYS_io_getevents, "io_getevents", "IO wait", kInterrupted},
    BlockingCall{SYS_nanosleep, "nanosleep", "sleep", kInterrupted},
    BlockingCall{SYS_clock_nanosleep, "clock_nanosleep", "sleep", kInterrupted},
    BlockingCall{SYS_futex, "futex", "futex wait", kByTimeout},
    BlockingCall{SYS_futex_waitv, "futex_waitv", "futex wait", kInterrupted},
    BlockingCall{SYS_semop, "semop", "semaphore wait", kInterrupted},
    BlockingCall{SYS_semtimedop, "semtimedop", "semaphore wait", kInterrupted},
    BlockingCall{SYS_msgrcv, "msgrcv", "IO wait", kInterrupted},
    BlockingCall{SYS_msgsnd, "msgsnd", "IO wait", kInterrupted},
    BlockingCall{SYS_mq_timedreceive, "mq_timedreceive", "IO wait", kInterrupted},
    BlockingCall{SYS_mq_timedsend, "mq_timedsend", "IO wait", kInterrupted},
    BlockingCall{SYS_flock, "flock", "file lock", kRestarted},
    BlockingCall{SYS_fcntl, "fcntl", "file lock", kRestarted},
    BlockingCall{SYS_wait4, "wait4", "child wait", kRestarted},
    BlockingCall{SYS_waitid, "waitid", "child wait", kRestarted},
    BlockingCall{SYS_vfork, "vfork", "child wait", kInterrupted},
    BlockingCall{SYS_clone, "clone", "child wait", kInterrupted},
    BlockingCall{SYS_clone3, "clone3", "child wait", kInterrupted},
    BlockingCall{SYS_rt_sigtimedwait, "rt_sigtimedwait", "signal wait", kInterrupted},
    BlockingCall{SYS_rt_sigsuspend, "rt_sigsuspend", "signal wait", kInterrupted},
    BlockingCall{SYS_pause, "pause", "signal wait", kInterrupted},
    BlockingCall{SYS_restart_syscall, "restart_syscall", "sleep", kInterrupted},
    BlockingCall{SYS_getrandom, "getrandom", "IO wait", kInterrupted},
    BlockingCall{SYS_ioctl, "ioctl", "IO wait", kInterrupted},
    BlockingCall{SYS_openat, "openat", "IO wait", kInterrupted},
    BlockingCall{SYS_open, "open", "IO wait", kInterrupted},
    BlockingCall{SYS_close, "close", "IO wait", kInterrupted},
    BlockingCall{SYS_mmap, "mmap", "memory map", kRestarted},
    BlockingCall{SYS_munmap, "munmap", "memory map", kRestarted},
    BlockingCall{SYS_mprotect, "mprotect", "memory map", kRestarted},
    BlockingCall{SYS_madvise, "madvise", "memory map", kRestarted},
};

const BlockingCall* find_call(std::int64_t number) {
  const auto found = std::find_if(kCalls.begin(), kCalls.end(), [number](const BlockingCall& call) {
    return call.number == number;
  });
  return found == kCalls.end() ? nullptr : &*found;
}

// Waiting operations whose timeout is the fourth argument; the others (wakes, requeues) use it
// otherwise.
bool futex_waits_forever(const ThreadSyscall& call) {
  const auto operation = call.args[1] & static_cast<std::uint64_t>(FUTEX_CMD_MASK);
  return (operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET) && call.args[3] == 0;
}

std::string_view reason_of_state(char state) {
  switch (state) {
    case 'R':
      return "runnable";
    case 'S':
      return "page fault";
    case 'D':
      return "uninterruptible";
    case 'T':
    case 't':
      return "stopped";
    case 'Z':
    case 'X':
      return "exited";
    default:
      return "blocked";
  }
}

bool has_no_timeout(int fd, int option) {
  timeval timeout{};
  socklen_t size = sizeof timeout;
  return getsockopt(fd, SOL_SOCKET, option, &timeout, &size) == 0 && timeout.tv_sec == 0 &&
         timeout.tv_usec == 0;
}

}  // namespace

std::string_view wait_reason(const ThreadSyscall& call, char state) {
  switch (call.kind) {
    case ThreadSyscall::Kind::kRunning:
      return state == 'R' || state == '?' ? "running" : reason_of_state(state);
    case ThreadSyscall::Kind::kStopped:
      return reason_of_state(state);
    case ThreadSyscall::Kind::kBlocked:
      break;
  }
  const BlockingCall* known = find_call(call.number);
  return known != nullptr ? known->reason : std::string_view("syscall");
}

std::string_view syscall_name(std::int64_t number) {
  const BlockingCall* known = find_call(number);
  return known != nullptr ? known->name : std::string_view();
}

bool survives_signal(const ThreadSyscall& call) {
  if (call.kind != ThreadSyscall::Kind::kBlocked) return false;
  const BlockingCall* known = find_call(call.number);
  if (known == nullptr) return false;
  switch (known->on_signal) {
    case kInterrupted:
      return false;
    case kRestarted:
    case kByDescriptor:
      return true;
    case kByTimeout:
      return futex_waits_forever(call);
  }
  return false;
}

int waiting_descriptor(const ThreadSyscall& call) {
  if (call.kind != ThreadSyscall::Kind::kBlocked) return -1;
  const BlockingCall* known = find_call(call.number);
  return known != nullptr && known->on_signal == kByDescriptor ? static_cast<int>(call.args[0])
                                                               : -1;
}

bool descriptor_restarts(int fd) {
  const auto about = descriptor_status(fd);
  if (!about) return false;
  switch (about->st_mode & S_IFMT) {
    case S_IFIFO:
    case S_IFCHR:
    case S_IFREG:
      return true;
    case S_IFSOCK:
      return has_no_timeout(fd, SO_RCVTIMEO) && has_no_timeout(fd, SO_SNDTIMEO);
    default:
      return false;
  }
}

}  // namespace vigil::sampler
