#include "sampler/wait_reason.h"

#include <linux/futex.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

ThreadSyscall blocked_in(std::int64_t number, std::array<std::uint64_t, 6> args = {}) {
  ThreadSyscall call;
  call.kind = ThreadSyscall::Kind::kBlocked;
  call.number = number;
  call.args = args;
  return call;
}

TEST_CASE("reasons in Go's words") {
  CHECK(wait_reason(blocked_in(SYS_futex), 'S') == "futex wait");
  CHECK(wait_reason(blocked_in(SYS_clock_nanosleep), 'S') == "sleep");
  CHECK(wait_reason(blocked_in(SYS_epoll_wait), 'S') == "epoll wait");
  CHECK(wait_reason(blocked_in(SYS_read), 'S') == "IO wait");
  CHECK(wait_reason(blocked_in(SYS_select), 'S') == "select");
  CHECK(wait_reason(blocked_in(99999), 'S') == "syscall");
  CHECK(wait_reason(ThreadSyscall{}, 'R') == "running");
  ThreadSyscall stopped;
  stopped.kind = ThreadSyscall::Kind::kStopped;
  CHECK(wait_reason(stopped, 'T') == "stopped");
  CHECK(wait_reason(stopped, 'R') == "runnable");
  CHECK(wait_reason(stopped, 'D') == "uninterruptible");
  CHECK(syscall_name(SYS_futex) == "futex");
  CHECK(syscall_name(99999).empty());
}

TEST_CASE("only calls that the kernel restarts survive a signal") {
  for (const std::int64_t number :
       {SYS_nanosleep, SYS_clock_nanosleep, SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6,
        SYS_epoll_wait, SYS_epoll_pwait, SYS_semop, SYS_semtimedop, SYS_rt_sigtimedwait, SYS_pause,
        SYS_rt_sigsuspend, SYS_io_getevents}) {
    CAPTURE(number);
    CHECK_FALSE(survives_signal(blocked_in(number)));
  }
  CHECK(survives_signal(blocked_in(SYS_read)));
  CHECK(survives_signal(blocked_in(SYS_wait4)));
  CHECK_FALSE(survives_signal(blocked_in(99999)));
  CHECK_FALSE(survives_signal(ThreadSyscall{}));
}

TEST_CASE("a futex wait survives without a timeout only") {
  const std::uint64_t wait = FUTEX_WAIT_PRIVATE;
  const std::uint64_t bitset = FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME;
  CHECK(survives_signal(blocked_in(SYS_futex, {1, wait, 0, 0})));
  CHECK(survives_signal(blocked_in(SYS_futex, {1, bitset, 0, 0})));
  CHECK_FALSE(survives_signal(blocked_in(SYS_futex, {1, wait, 0, 0x7ff0})));
  CHECK_FALSE(survives_signal(blocked_in(SYS_futex, {1, bitset, 0, 0x7ff0})));
  CHECK_FALSE(survives_signal(blocked_in(SYS_futex, {1, FUTEX_LOCK_PI, 0, 0})));
}

TEST_CASE("calls on descriptors: pipes and plain sockets restart, others may not") {
  CHECK(waiting_descriptor(blocked_in(SYS_read, {7})) == 7);
  CHECK(waiting_descriptor(blocked_in(SYS_futex, {7})) == -1);
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const UniqueFd reader(ends[0]);
  const UniqueFd writer(ends[1]);
  CHECK(descriptor_restarts(reader.get()));
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const UniqueFd one(ends[0]);
  const UniqueFd other(ends[1]);
  CHECK(descriptor_restarts(one.get()));
  const timeval timeout{1, 0};
  REQUIRE(setsockopt(one.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0);
  CHECK_FALSE(descriptor_restarts(one.get()));
  const UniqueFd watch(inotify_init1(IN_CLOEXEC));
  CHECK_FALSE(descriptor_restarts(watch.get()));
  CHECK_FALSE(descriptor_restarts(-1));
}

}  // namespace
}  // namespace vigil::sampler
