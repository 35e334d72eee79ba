// What Ctrl-C, a CI job that is cancelled and a closed terminal do to vigil-leakcheck: the server of
// --launch and the drive are ended before it, which nobody else would end.
//
//   end_children_on_signals();            // in main; each Child notes itself
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace vigil::leakcheck {

// From here on SIGINT, SIGTERM and SIGHUP send SIGTERM to the groups of all noted children, and
// SIGKILL to what is left of them after kChildGrace, say so on stderr, and end the process with
// status 2. A second signal ends it at once. What is ignored already stays so (nohup). Once a process.
void end_children_on_signals();

// At once in this process; more are not ended by a signal.
inline constexpr std::size_t kNotedChildrenMax = 8;

// `group` is a process group of a child's own, which is its process id too. Signal-safe.
void note_child(pid_t group) noexcept;
void forget_child(pid_t group) noexcept;

}  // namespace vigil::leakcheck
