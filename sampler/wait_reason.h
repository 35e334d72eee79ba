// What a blocked thread waits for, from the system call it is in; and whether a signal would be
// noticed. Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "sampler/proc_thread.h"

namespace vigil::sampler {

// In the words of Go's goroutine dumps where they fit: "futex wait", "sleep", "epoll wait", "poll",
// "select", "IO wait", "accept", "connect", "signal wait", "child wait", "running", "runnable",
// "page fault", "stopped", "uninterruptible", "exited", "syscall". `state` is stat's letter and
// decides where there is no system call.
std::string_view wait_reason(const ThreadSyscall& call, char state);

// "nanosleep", "read", …; empty for a number that is not in our table (about 60 calls that block).
std::string_view syscall_name(std::int64_t number);

// True if a signal whose handler has SA_RESTART is invisible to a thread blocked in this call: the
// kernel starts it again. False for the calls that return EINTR all the same (signal(7): nanosleep,
// poll, select, epoll_wait, semop, sigtimedwait, futex waits with a timeout, pause, …) and for
// calls that we do not know. For calls on a descriptor the answer also depends on the descriptor (a
// socket with SO_RCVTIMEO, an inotify): ask descriptor_restarts() too.
bool survives_signal(const ThreadSyscall& call);

// The descriptor of a call that survives_signal() only if its descriptor does (read, write, recv,
// accept, …); -1 for calls without one.
int waiting_descriptor(const ThreadSyscall& call);

// Whether calls on `fd` of this process are restarted: pipes, terminals and regular files are;
// sockets without SO_RCVTIMEO and SO_SNDTIMEO are; what else there is (inotify, io_uring, …) may
// not be, so the answer is no. Not pure: stat(2) and getsockopt(2).
bool descriptor_restarts(int fd);

}  // namespace vigil::sampler
