#include "agent/own_descriptors.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace vigil {
namespace {

// By number: glibc 2.36 has the functions, the compilers' older headers have not.
int system_call(long number, long first, long second, long third) {
  return static_cast<int>(::syscall(number, first, second, third));
}

}  // namespace

Result<void> leave_descriptor_table() {
  // In one call, so that nothing of the program's is held open in between.
  if (system_call(SYS_close_range, 0, ~0U, CLOSE_RANGE_UNSHARE) != 0) {
    return Error(ErrorCode::kUnsupported,
                 Error::from_errno("close_range(CLOSE_RANGE_UNSHARE)", errno).message());
  }
  // A library that complains on 2 must not find a socket there. 0 and 1 are free for use: a program may allow itself ten
  // descriptors, and so us.
  int quiet = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (quiet < 0) quiet = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);  // a root folder without /dev
  if (quiet >= 0 && quiet != STDERR_FILENO && ::dup2(quiet, STDERR_FILENO) >= 0) ::close(quiet);
  return {};
}

UniqueFd program_descriptor(int number) {
  const UniqueFd process(system_call(SYS_pidfd_open, ::getpid(), 0, 0));
  if (!process) return {};
  return UniqueFd(system_call(SYS_pidfd_getfd, process.get(), number, 0));
}

}  // namespace vigil
