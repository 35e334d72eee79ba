// What the agent is told by the environment: the VIGIL_* variables, each with its rules. docs/companion.md is the table
// for users.
//
//   auto wanted = agent_environment(getenv);
//   if (!wanted) …            // a variable makes no sense: wanted.error() names it
//   if (!*wanted) …           // VIGIL_LISTEN is not set, or not for this program: stay out
//
// This file is the only one of the project that knows their names: agent_variables() is the list from which `vigil run`
// makes its options, and which the tests hold the table against.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "agent/agent.h"
#include "base/flags.h"
#include "base/result.h"

namespace vigil {

// What happens in a process that the armed one has made by fork(2), or has started by fork(2) and execve(2).
enum class FollowFork : std::uint8_t {
  kNo,  // quiet: no thread, no listener. A daemon that replaces its parent has the agent, see resident_agent.h
  kYes,  // an agent of its own, with a port or socket of its own
};

struct ResidentOptions {
  // For the lines that are said: the program's name as it was at the start. Programs write over it.
  std::string program;
  AgentOptions agent;  // all but debug_unix and, until load_token(), debug_token
  // Of a Unix socket; "%p" in it is the number of the process. Empty: none.
  std::string socket_path;
  // Whose first line is the token that every request to the address must carry. Empty: none is asked for.
  std::string token_file;
  FollowFork follow_fork = FollowFork::kNo;
  // Where records go: "stderr", "off", or a file that lines are appended to.
  std::string log = "stderr";
};

// Finds a variable: getenv(3), or a test's table. Null: not set.
using EnvironmentLookup = std::function<const char*(const char* name)>;

// The process that an agent is in, for its children: set by the agent itself (kOwnerVariable) and read here.
inline constexpr const char* kOwnerVariable = "VIGIL_OWNER";

// What the variables ask for, in the process `self` whose program's name (without folders) is `program`. nullopt: no
// agent, because VIGIL_LISTEN is not set or empty, VIGIL_PROGRAM names other programs, or an agent is in another process
// that started this one and VIGIL_FOLLOW_FORK is not 1. invalid_argument: the sentence names the variable. Pure.
Result<std::optional<ResidentOptions>> agent_environment(const EnvironmentLookup& lookup,
                                                         std::string_view program, int self);

// The agent's options in the process `self`.
AgentOptions agent_options_of(const ResidentOptions& options, int self);

// Reads `token_file`, if there is one and it has not been read yet. Before the agent is started: a child of fork(2) may not be
// allowed to read it any more. The errors of read_token_file().
Result<void> load_token(ResidentOptions& options);

struct AgentVariable {
  std::string_view name;  // "VIGIL_STUCK_AFTER"
  std::string_view hint;  // what its value is: "DURATION"
  std::string_view help;  // what it is for, with the default: half a line
  // What reads a value into the options.
  FlagSetter (*setter)(ResidentOptions& options);
};
// All of them, VIGIL_LISTEN first; not kOwnerVariable, which nobody sets by hand.
std::span<const AgentVariable> agent_variables();

// Whether `name` is one of the variables.
bool is_agent_variable(std::string_view name);

}  // namespace vigil
