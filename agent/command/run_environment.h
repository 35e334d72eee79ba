// What vigil run sets in the environment of the program that it becomes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/environment.h"
#include "base/flags.h"
#include "base/result.h"

namespace vigil::command {

struct RunOptions {
  std::string agent;                             // the library; empty: it is looked for
  std::map<std::string, std::string> variables;  // VIGIL_* by name, as options gave them
  std::vector<std::string> command;
};

// The flags of vigil run: --stuck-after=10s is VIGIL_STUCK_AFTER=10s, and so on.
FlagTable run_flags(RunOptions& options);

// The variables to set: VIGIL_LISTEN (127.0.0.1:6060 where neither an option nor the environment, seen through `lookup`, has
// one), those of the options, and LD_PRELOAD with `agent` in front of what it has. Pure.
//   invalid_argument   the agent would refuse a value; or `agent` has a character that LD_PRELOAD takes for a separator
Result<std::map<std::string, std::string>> run_environment(const RunOptions& options,
                                                           const std::string& agent,
                                                           const EnvironmentLookup& lookup);

}  // namespace vigil::command
