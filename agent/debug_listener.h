// The debug listener of an agent: who may reach it, and what happens when its port is taken.
#pragma once

#include <memory>
#include <string_view>

#include "agent/agent.h"
#include "base/log.h"
#include "base/result.h"
#include "server-core/server.h"

namespace vigil {

// How many ports AgentOptions::PortTaken::kNextFree looks at, the one that was asked for included.
inline constexpr int kDebugPortsTried = 20;

// "next", "any" or "fail", as flags and variables have it. invalid_argument: another word. Pure.
Result<AgentOptions::PortTaken> parse_port_taken(std::string_view word);

// Whether the options name somewhere to listen, and nothing that would be reachable by accident.
//   invalid_argument    neither an address nor a Unix socket; a token that is none (check_token())
//   permission_denied   an address that other machines reach, without both DebugReach::kOtherMachines
//                       and a token
// Pure.
Result<void> check_debug_reach(const AgentOptions& options);

// Binds, as AgentOptions::debug_port_taken says; nothing is accepted before start(). The errors of
// http::Server::create(). Logs a warning where the port is not the one asked for, and where other
// machines reach it.
Result<std::unique_ptr<http::Server>> open_debug_listener(const AgentOptions& options,
                                                          const http::Handler& pages,
                                                          leakwatch::TaskRegistry& tasks,
                                                          LogSink& sink, Clock& clock);

}  // namespace vigil
