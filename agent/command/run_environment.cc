#include "agent/command/run_environment.h"

#include <array>
#include <string_view>

namespace vigil::command {
namespace {

struct Option {
  std::string_view name;
  std::string_view hint;
  std::string_view help;
};

// The agent's variables as options; what a value means, and whether it makes sense, is in agent/environment.cc alone.
constexpr std::array kOptions = {
    Option{"listen", "A:P", "where the debug pages are (127.0.0.1:6060)"},
    Option{"port-taken", "next|any|fail", "what to do when that port is taken (next)"},
    Option{"stuck-after", "DURATION", "flag tasks older than this (5s; 0: never)"},
    Option{"heap-sample", "BYTES", "mean bytes between heap samples (524288; 0: none)"},
    Option{"contention-rate", "DURATION", "of waiting a sample stands for (1ms; 0: off)"},
    Option{"follow-fork", "0|1", "an agent in each child process too (0)"},
    Option{"allow-changes", "0|1", "whether a POST may change rates (0)"},
    Option{"log", "stderr|off|FILE", "where the agent's records go (stderr)"},
    Option{"program", "NAME,…", "only in programs of these names (any)"},
};

// "stuck-after" is VIGIL_STUCK_AFTER.
std::string variable_of(std::string_view option) {
  std::string name = "VIGIL_";
  for (const char c : option) {
    name += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return name;
}

}  // namespace

FlagTable run_flags(RunOptions& options) {
  FlagTable flags("vigil run",
                  "Starts PROGRAM with libvigil_agent.so in it, and so with a debug listener. The\n"
                  "program takes this process over: its exit status and signals are its own.");
  flags.add("agent", "FILE", "the library (found beside this program)", text_flag(options.agent));
  for (const Option& option : kOptions) {
    flags.add(std::string(option.name), std::string(option.hint), std::string(option.help),
              text_flag(options.variables[variable_of(option.name)]));
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
