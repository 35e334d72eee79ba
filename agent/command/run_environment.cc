#include "agent/command/run_environment.h"

#include <string_view>

namespace vigil::command {
namespace {

// "VIGIL_STUCK_AFTER" is the option "stuck-after".
std::string option_of(std::string_view variable) {
  constexpr std::string_view kPrefix = "VIGIL_";
  std::string name;
  for (const char c : variable.substr(kPrefix.size())) {
    name += c == '_' ? '-' : static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

}  // namespace

FlagTable run_flags(RunOptions& options) {
  FlagTable flags("vigil run",
                  "Starts PROGRAM with libvigil_agent.so in it, and so with a debug listener. The\n"
                  "program takes this process over: its exit status and signals are its own.");
  flags.add("agent", "FILE", "the library (found beside this program)", text_flag(options.agent));
  for (const AgentVariable& variable : agent_variables()) {
    flags.add(option_of(variable.name), std::string(variable.hint), std::string(variable.help),
              text_flag(options.variables[std::string(variable.name)]));
  }
  flags.add_command("PROGRAM [ARGUMENT]…", options.command);
  return flags;
}

Result<std::map<std::string, std::string>> run_environment(const RunOptions& options,
                                                           const std::string& agent,
                                                           const EnvironmentLookup& lookup) {
  std::map<std::string, std::string> changes;
  for (const auto& [name, value] : options.variables) {
    if (!value.empty()) changes[name] = value;
  }
  const char* const listen = lookup("VIGIL_LISTEN");
  if (!changes.contains("VIGIL_LISTEN") && (listen == nullptr || *listen == '\0')) {
    changes["VIGIL_LISTEN"] = "127.0.0.1:6060";
  }
  if (agent.find_first_of(" :") != std::string::npos) {
    return Error(ErrorCode::kInvalidArgument,
                 agent + ": LD_PRELOAD takes no path with a space or a colon");
  }
  const char* const preloaded = lookup("LD_PRELOAD");
  const bool is_alone = preloaded == nullptr || *preloaded == '\0';
  changes["LD_PRELOAD"] = is_alone ? agent : agent + ":" + preloaded;

  const auto seen = [&](const char* name) -> const char* {
    const auto found = changes.find(name);
    return found == changes.end() ? lookup(name) : found->second.c_str();
  };
  const auto accepted = agent_environment(seen, "", 0);
  if (!accepted) return accepted.error();
  return changes;
}

}  // namespace vigil::command
