// An agent that lives beside a program which was not built around it: on threads of its own, with a table of descriptors
// of its own (own_descriptors.h), told what to do by the environment. What libvigil_agent.so starts, and what a program
// starts that links vigil::agent and has one line for it:
//
//   int main() {
//     const auto agent = vigil::start_agent_from_environment();   // null: VIGIL_LISTEN is not set
//     …
//   }
//
// Agent (agent.h) is for programs that set it up in code.
#pragma once

#include <memory>
#include <string>

#include "agent/environment.h"
#include "base/clock.h"
#include "base/result.h"
#include "leakwatch/task_registry.h"

namespace vigil {

// Thread-safe after start().
class ResidentAgent {
 public:
  // Starts an agent and waits until it serves. `tasks`: the program's registry, which must outlive the agent; null: one
  // of the agent's own, tasks().
  //   busy                the port is taken, or there is an agent already
  //   deadline_exceeded   it does not serve within `start_timeout`; it is left to itself then, and may yet
  //   resource_exhausted  no thread, memory or descriptor for it
  //   others              as Agent::start()
  static Result<std::unique_ptr<ResidentAgent>> start(
      ResidentOptions options, leakwatch::TaskRegistry* tasks = nullptr,
      Duration start_timeout = std::chrono::seconds(5));

  // Stops it: captures in progress end early. In a child of fork(2), where its threads are not, it does nothing.
  ~ResidentAgent();
  ResidentAgent(const ResidentAgent&) = delete;
  ResidentAgent& operator=(const ResidentAgent&) = delete;

  // Where it serves, with its real port: "127.0.0.1:6060"; "unix:/path" where it has no port.
  const std::string& address() const;
  // Programs that mark their tasks begin them here (leakwatch::Task).
  leakwatch::TaskRegistry& tasks();

 private:
  struct State;
  explicit ResidentAgent(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

// Starts an agent if the environment asks for one, and says on stderr (or where VIGIL_LOG says) in one line where it
// serves, or why it does not. Null: none is asked for, or it could not start; the program goes on without. Call it in
// main(), before threads that change the environment. Children of the process are quiet, see VIGIL_OWNER in
// docs/companion.md.
std::unique_ptr<ResidentAgent> start_agent_from_environment(
    leakwatch::TaskRegistry* tasks = nullptr);

// What is said then: "nginx[4711]: debug pages at http://127.0.0.1:6060/debug/pprof/", or why not. Pure but for the
// process's number.
std::string start_line(const ResidentOptions& options, const Result<std::string>& address);

}  // namespace vigil
