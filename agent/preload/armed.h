// The one agent of libvigil_agent.so in this process, and what becomes of it in the process's children.
//
//   armed ──fork──► quiet ──setsid(2), daemon(3)──► heir ──its parent ends──► armed, at the same address
//     ▲               │                              │ 5 s pass, or exec
//     │               └─VIGIL_FOLLOW_FORK=1, 0.2 s─► armed, on a port of its own
//     └──execve: VIGIL_OWNER is this process         └──► quiet
//
// quiet: no thread, no descriptor (own_descriptors.h), sampling off; a program that it executes finds VIGIL_OWNER with
// another process's number, and stays out as well.
//
// heir: how a server makes itself a daemon is by a fork whose parent ends, with setsid(2) in the child. It is waited for
// on a thread that ends after 5 s; what is not a daemon by then is a child that has its own session.
#pragma once

#include <string>

#include "agent/environment.h"
#include "base/result.h"

namespace vigil::preload {

// Starts the agent and waits until it serves. busy: there is one; unsupported: libunwind is not installed; others as
// ResidentAgent::start(). Not after a failed start's deadline_exceeded.
Result<void> arm(ResidentOptions options);
// The same; says in one line where it serves or why it does not.
void arm_and_say_so(const ResidentOptions& options) noexcept;
// Nothing if there is none.
void disarm();
// "127.0.0.1:6060"; empty if there is none.
std::string armed_address();

// Called by the interposed setsid(2) and daemon(3), in the process that has the new session.
void has_new_session() noexcept;
// Called by the interposed pthread_exit(3): a process whose threads have all ended but the agent's ends, as it would
// without them.
void first_thread_exits() noexcept;

}  // namespace vigil::preload
