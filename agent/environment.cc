#include "agent/environment.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include "agent/debug_listener.h"
#include "base/text.h"

namespace vigil {
namespace {

// Which programs an agent is for.
constexpr const char* kProgramVariable = "VIGIL_PROGRAM";
constexpr std::int64_t kHeapSampleBytesMax = std::int64_t{1} << 30;

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

// "1" or "0".
template <typename T>
Result<void> set_switch(T& target, T on, T off, std::string_view text) {
  if (text != "0" && text != "1") return refuse("not 0 or 1");
  target = text == "1" ? on : off;
  return {};
}

Result<void> set_duration(Duration& target, std::string_view text) {
  const auto duration = parse_duration(text);
  if (!duration) return duration.error();
  target = *duration;
  return {};
}

Result<void> set_heap_sample(ResidentOptions& options, std::string_view text) {
  const auto bytes = parse_integer(text, 0, kHeapSampleBytesMax);
  if (!bytes) return bytes.error();
  options.agent.heap_sample_bytes = *bytes;
  return {};
}

Result<void> set_log(ResidentOptions& options, std::string_view text) {
  if (text != "stderr" && text != "off" && !text.starts_with('/')) {
    return refuse("not stderr, off or the absolute path of a file");
  }
  options.log = text;
  return {};
}

struct Variable {
  const char* name;
  Result<void> (*set)(ResidentOptions& options, std::string_view text);
};

constexpr std::array kVariables = {
    Variable{"VIGIL_LISTEN", set_listen},
    Variable{"VIGIL_PORT_TAKEN", set_port_taken},
    Variable{"VIGIL_FOLLOW_FORK",
             [](ResidentOptions& options, std::string_view text) {
               return set_switch(options.follow_fork, FollowFork::kYes, FollowFork::kNo, text);
             }},
    Variable{"VIGIL_STUCK_AFTER",
             [](ResidentOptions& options, std::string_view text) {
               return set_duration(options.agent.stuck_after, text);
             }},
    Variable{"VIGIL_HEAP_SAMPLE", set_heap_sample},
    Variable{"VIGIL_CONTENTION_RATE",
             [](ResidentOptions& options, std::string_view text) {
               return set_duration(options.agent.contention_rate, text);
             }},
    Variable{"VIGIL_ALLOW_CHANGES",
             [](ResidentOptions& options, std::string_view text) {
               using Changes = AgentOptions::Changes;
               return set_switch(options.agent.changes, Changes::kAllowed, Changes::kRefused, text);
             }},
    Variable{"VIGIL_LOG", set_log},
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

bool is_agent_variable(std::string_view name) {
  return name == kProgramVariable ||
         std::any_of(kVariables.begin(), kVariables.end(),
                     [name](const Variable& variable) { return name == variable.name; });
}

Result<std::optional<ResidentOptions>> agent_environment(const EnvironmentLookup& lookup,
                                                         std::string_view program, int self) {
  if (!is_set(lookup("VIGIL_LISTEN"))) return std::optional<ResidentOptions>();
  if (const char* const programs = lookup(kProgramVariable); is_set(programs)) {
    if (!names(programs, program)) return std::optional<ResidentOptions>();
  }
  ResidentOptions options;
  options.program = program;
  options.agent.debug_port_taken = AgentOptions::PortTaken::kNextFree;
  for (const Variable& variable : kVariables) {
    const char* const value = lookup(variable.name);
    if (!is_set(value)) continue;
    if (Result<void> set = variable.set(options, value); !set) {
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
