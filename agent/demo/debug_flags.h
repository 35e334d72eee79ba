// The demo's flags about its debug pages, and what it says of where they are.
#pragma once

#include <string>

#include "agent/agent.h"
#include "base/flags.h"

namespace demo {

// --debug, --debug-unix, --debug-token-file, --debug-expose, --debug-port-taken, --allow-changes.
// `options` must outlive the flags.
void add_debug_flags(vigil::FlagTable& flags, vigil::AgentOptions& options);

// "listening on WHERE" on stdout, at once.
void announce(const std::string& where);

// Announces the debug pages' address and Unix socket, whichever there are.
void announce_debug_pages(const vigil::Agent& agent, const vigil::AgentOptions& options);

}  // namespace demo
