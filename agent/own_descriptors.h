// A table of descriptors for the agent alone.
//
// On Linux a thread may have its own (unshare(2), CLONE_FILES). The agent's threads do, and so
//
//   * a program that closes every descriptor it did not open, or puts one of its own at a number with dup2(2), does not
//     touch the agent's,
//   * a child of fork(2) has none of them: no port is kept by a process that does not serve it,
//   * the program's limit (RLIMIT_NOFILE) counts for each table: the agent answers when the program has run out,
//   * closing a file here does not give up the program's record locks on it (fcntl(2), F_SETLK).
//
// The program's table stays what /proc/PID/fd, lsof(8) and ss(8) show; `ss -T`, and /proc/PID/task/TID/fd, show the
// agent's.
#pragma once

#include "base/fd.h"
#include "base/result.h"

namespace vigil {

// Gives the calling thread, and those that it starts from now on, a table with /dev/null at 2 and nothing else. Only on a thread of ours, while another thread of the process is alive: alone in its table, a thread would
// close the program's. unsupported: the kernel (before 5.9) or a system call filter refuses; nothing has changed then.
Result<void> leave_descriptor_table();

// A duplicate of the program's descriptor `number`: of the process's first thread, whatever table the caller has.
// Unset if there is none, or the kernel (before 5.6) or a filter refuses.
UniqueFd program_descriptor(int number);

}  // namespace vigil
