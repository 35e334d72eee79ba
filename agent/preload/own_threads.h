// The agent's own threads: every pthread_create of libvigil_agent.so itself (ld's --wrap) comes through here.
#pragma once

namespace vigil::preload {

// Whether no thread of the program is left. A process without its first thread, whose other threads are the agent's,
// would stay for ever. Reads /proc/self/task.
bool only_own_threads();

// In a child of fork(2), which has none.
void forget_own_threads() noexcept;

}  // namespace vigil::preload
