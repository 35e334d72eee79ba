#include "agent/environment.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include "agent/debug_listener.h"
#include "agent/token_file.h"
#include "base/flags.h"
#include "base/text.h"

namespace vigil {
namespace {

// Which programs an agent is for.
constexpr std::string_view kProgramVariable = "VIGIL_PROGRAM";
constexpr std::int64_t kHeapSampleBytesMax = std::int64_t{1} << 30;
constexpr std::int64_t kCountMax = 1'000'000'000;
constexpr std::int64_t kGrowthBytesMax = std::int64_t{1} << 40;

Result<void> refuse(std::string what) {
  return Error(ErrorCode::kInvalidArgument, std::move(what));
}

// "127.0.0.1:6060", "[::1]:0", or a port alone, which is one of 127.0.0.1.
Result<HostPort> read_address(std::string_view text) {
  if (const auto port = parse_integer(text, 0, 65'535)) {
    return HostPort{"127.0.0.1", static_cast<std::uint16_t>(*port)};
  }
  return parse_host_port(text);
}

// `path` with the process's number for each "%p", so that children have sockets of their own.
std::string with_process(std::string_view path, int self) {
  std::string text(path);
  for (std::size_t at = 0; (at = text.find("%p", at)) != std::string::npos;) {
    text.replace(at, 2, std::to_string(self));
  }
  return text;
}

// An address, "unix:/path", or both with a comma.
Result<void> set_listen(ResidentOptions& options, std::string_view text) {
  constexpr std::string_view kUnix = "unix:";
  options.agent.debug_listen = {};
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (word.starts_with(kUnix)) {
      options.socket_path = word.substr(kUnix.size());
      if (!options.socket_path.starts_with('/')) return refuse("not an absolute path behind unix:");
      continue;
    }
    auto address = read_address(word);
    if (!address) return std::move(address).error();
    options.agent.debug_listen = *std::move(address);
  }
  return {};
}

Result<void> set_port_taken(ResidentOptions& options, std::string_view text) {
  const auto taken = parse_port_taken(text);
  if (!taken) return taken.error();
  options.agent.debug_port_taken = *taken;
  return {};
}

Result<void> set_log(ResidentOptions& options, std::string_view text) {
  if (text != "stderr" && text != "off" && !text.starts_with('/')) {
    return refuse("not stderr, off or the absolute path of a file");
  }
  options.log = text;
  return {};
}

Result<void> set_token_file(ResidentOptions& options, std::string_view text) {
  if (!text.starts_with('/')) return refuse("not the absolute path of a file");
  options.token_file = text;
  return {};
}

// A setter of the whole options as that of a variable.
template <Result<void> (*kSet)(ResidentOptions&, std::string_view)>
FlagSetter whole(ResidentOptions& options) {
  return [&options](std::string_view text) { return kSet(options, text); };
}

using Options = ResidentOptions;
constexpr FlagChoice<FollowFork> kFollowNot{"0", FollowFork::kNo};
constexpr FlagChoice<FollowFork> kFollow{"1", FollowFork::kYes};

constexpr std::array kVariables = {
    AgentVariable{"VIGIL_LISTEN", "A:P", "where the debug pages are (127.0.0.1:6060)",
                  whole<set_listen>},
    AgentVariable{"VIGIL_PROGRAM", "NAME,…", "only in programs of these names (any)",
                  [](Options&) -> FlagSetter {
                    return [](std::string_view) {
                      return Result<void>();
                    };  // read by whom it keeps out
                  }},
    AgentVariable{"VIGIL_PORT_TAKEN", "next|any|fail", "what to do when that port is taken (next)",
                  whole<set_port_taken>},
    AgentVariable{"VIGIL_TOKEN_FILE", "FILE",
                  "its first line is the token that requests must carry (none)",
                  whole<set_token_file>},
    AgentVariable{"VIGIL_EXPOSE", "0|1", "whether other machines may reach them, with a token (0)",
                  [](Options& options) {
                    using Reach = AgentOptions::DebugReach;
                    return choice_flag<Reach>(options.agent.debug_reach, {"0", Reach::kThisMachine},
                                              {"1", Reach::kOtherMachines});
                  }},
    AgentVariable{"VIGIL_ALLOW_CHANGES", "0|1", "whether a POST may change rates (0)",
                  [](Options& options) {
                    using Changes = AgentOptions::Changes;
                    return choice_flag<Changes>(options.agent.changes, {"0", Changes::kRefused},
                                                {"1", Changes::kAllowed});
                  }},
    AgentVariable{"VIGIL_FOLLOW_FORK", "0|1", "an agent in each child process too (0)",
                  [](Options& options) {
                    return choice_flag<FollowFork>(options.follow_fork, kFollowNot, kFollow);
                  }},
    AgentVariable{"VIGIL_STUCK_AFTER", "DURATION", "flag tasks older than this (5s; 0: never)",
                  [](Options& options) { return duration_flag(options.agent.stuck_after); }},
    AgentVariable{"VIGIL_WATERMARK_TASKS", "N", "log more tasks at once, with a dump (0: no limit)",
                  [](Options& options) {
                    return size_flag(options.agent.high_watermarks.tasks, 0, kCountMax);
                  }},
    AgentVariable{"VIGIL_WATERMARK_THREADS", "N", "the same for threads (0)",
                  [](Options& options) {
                    return size_flag(options.agent.high_watermarks.threads, 0, kCountMax);
                  }},
    AgentVariable{"VIGIL_WATERMARK_DESCRIPTORS", "N", "the same for open descriptors (0)",
                  [](Options& options) {
                    return size_flag(options.agent.high_watermarks.descriptors, 0, kCountMax);
                  }},
    AgentVariable{"VIGIL_HEAP_SAMPLE", "BYTES", "mean bytes between heap samples (524288; 0: none)",
                  [](Options& options) {
                    return size_flag(options.agent.heap_sample_bytes, 0, kHeapSampleBytesMax);
                  }},
    AgentVariable{"VIGIL_CONTENTION_RATE", "DURATION",
                  "of waiting a sample stands for (1ms; 0: off)",
                  [](Options& options) { return duration_flag(options.agent.contention_rate); }},
    AgentVariable{
        "VIGIL_KEEP_PROFILES", "DURATION",
        "keep a CPU profile so often for /debug/profiles (0: never)",
        [](Options& options) { return duration_flag(options.agent.keep_profiles.every); }},
    AgentVariable{
        "VIGIL_KEEP_PROFILES_LENGTH", "DURATION", "of each CPU profile that is kept (10s)",
        [](Options& options) { return duration_flag(options.agent.keep_profiles.length); }},
    AgentVariable{"VIGIL_KEEP_WHEN_STUCK", "N", "keep profiles when so many tasks get stuck (0)",
                  [](Options& options) {
                    return size_flag(options.agent.keep_profiles.when_stuck_reports, 0, kCountMax);
                  }},
    AgentVariable{"VIGIL_KEEP_WHEN_GROWTH", "BYTES",
                  "keep profiles when the memory grows by more in a minute (0)",
                  [](Options& options) {
                    return size_flag(options.agent.keep_profiles.when_resident_bytes_per_minute, 0,
                                     kGrowthBytesMax);
                  }},
    AgentVariable{"VIGIL_LOG", "stderr|off|FILE", "where the agent's records go (stderr)",
                  whole<set_log>},
};

// Whether `program` is one of the names in `list`, separated by commas.
bool names(std::string_view list, std::string_view program) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == program) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

bool is_set(const char* value) { return value != nullptr && *value != '\0'; }

}  // namespace

AgentOptions agent_options_of(const ResidentOptions& options, int self) {
  AgentOptions agent = options.agent;
  agent.debug_unix = with_process(options.socket_path, self);
  return agent;
}

Result<void> load_token(ResidentOptions& options) {
  if (options.token_file.empty() || !options.agent.debug_token.empty()) return {};
  auto token = read_token_file(options.token_file);
  if (!token) return std::move(token).error();
  options.agent.debug_token = *std::move(token);
  return {};
}

std::span<const AgentVariable> agent_variables() { return kVariables; }

bool is_agent_variable(std::string_view name) {
  return std::any_of(kVariables.begin(), kVariables.end(),
                     [name](const AgentVariable& variable) { return name == variable.name; });
}

Result<std::optional<ResidentOptions>> agent_environment(const EnvironmentLookup& lookup,
                                                         std::string_view program, int self) {
  if (!is_set(lookup("VIGIL_LISTEN"))) return std::optional<ResidentOptions>();
  if (const char* const programs = lookup(kProgramVariable.data()); is_set(programs)) {
    if (!names(programs, program)) return std::optional<ResidentOptions>();
  }
  ResidentOptions options;
  options.program = program;
  options.agent.debug_port_taken = AgentOptions::PortTaken::kNextFree;
  for (const AgentVariable& variable : kVariables) {
    const char* const value = lookup(variable.name.data());  // a literal
    if (!is_set(value)) continue;
    if (Result<void> set = variable.setter(options)(value); !set) {
      return Error(ErrorCode::kInvalidArgument,
                   std::string(variable.name) + "=" + value + ": " + set.error().message());
    }
  }
  const char* const owner = lookup(kOwnerVariable);
  constexpr std::int64_t kProcessMax = 0x7FFF'FFFF;
  const auto armed_first = parse_integer(is_set(owner) ? owner : "", 0, kProcessMax);
  const bool descends = armed_first && *armed_first != self;
  if (descends && options.follow_fork == FollowFork::kNo) return std::optional<ResidentOptions>();
  return std::optional(std::move(options));
}

}  // namespace vigil
