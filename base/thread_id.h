// The kernel's id of the calling thread, remembered: gettid(2) is a system call (80 ns here), this
// is a load.
#pragma once

#include <sys/types.h>

namespace vigil {

// Thread-safe. Right after fork() too: the child forgets what its parent's thread remembered.
// Not signal-safe on a thread's first call.
pid_t current_thread_id() noexcept;

}  // namespace vigil
