#include "agent/demo/debug_flags.h"

#include <cstdio>
#include <fstream>
#include <iterator>

#include <fmt/core.h>

#include "agent/debug_listener.h"
#include "agent/token_file.h"

namespace demo {
namespace {

using vigil::AgentOptions;
using vigil::Error;
using vigil::ErrorCode;
using vigil::FlagSetter;
using vigil::Result;

// An address, or "none".
FlagSetter debug_flag(vigil::HostPort& target) {
  return [&target](std::string_view text) -> Result<void> {
    if (text == "none") {
      target = {"", 0};
      return {};
    }
    auto parsed = vigil::parse_host_port(text);
    if (!parsed) return std::move(parsed).error();
    target = *std::move(parsed);
    return {};
  };
}

FlagSetter token_file_flag(std::string& target) {
  return [&target](std::string_view path) -> Result<void> {
    auto token = vigil::read_token_file(std::string(path));
    if (!token) return std::move(token).error();
    target = *std::move(token);
    return {};
  };
}

FlagSetter port_taken_flag(AgentOptions::PortTaken& target) {
  return [&target](std::string_view text) -> Result<void> {
    const auto taken = vigil::parse_port_taken(text);
    if (!taken) return taken.error();
    target = *taken;
    return {};
  };
}

}  // namespace

void add_debug_flags(vigil::FlagTable& flags, AgentOptions& options) {
  flags.add("debug", "A:P|none", "where the debug pages are, loopback only (127.0.0.1:6060)",
            debug_flag(options.debug_listen));
  flags.add("debug-unix", "PATH", "a Unix socket that serves them too, to this user only",
            vigil::text_flag(options.debug_unix));
  flags.add("debug-token-file", "PATH",
            "a file with the token that requests to the address must carry (none)",
            token_file_flag(options.debug_token));
  flags.add_switch("debug-expose", "lets --debug be an address that other machines reach",
                   options.debug_reach, AgentOptions::DebugReach::kOtherMachines);
  flags.add("debug-port-taken", "fail|next|any",
            "when the port of --debug is taken: give up, try the next ones, take any (fail)",
            port_taken_flag(options.debug_port_taken));
  flags.add("keep-profiles", "DURATION",
            "take a CPU profile so often and keep it for /debug/profiles (0: never)",
            vigil::duration_flag(options.keep_profiles.every));
  flags.add("keep-profiles-length", "DURATION", "of each CPU profile that is kept (10s)",
            vigil::duration_flag(options.keep_profiles.length));
  flags.add("keep-when-queue-wait", "DURATION",
            "keep profiles when requests wait longer for a slot (0: never)",
            vigil::duration_flag(options.keep_profiles.when_queue_wait));
  flags.add("keep-when-stuck", "N", "keep profiles when so many handlers get stuck (0: never)",
            vigil::size_flag(options.keep_profiles.when_stuck_reports, 0, 1'000'000));
  flags.add("keep-when-p99", "DURATION",
            "keep profiles when the handlers' 99th percentile of a second is above it (0: never)",
            vigil::duration_flag(options.keep_profiles.when_p99));
  flags.add("keep-when-growth", "BYTES",
            "keep profiles when the resident memory grows by more in a minute (0: never)",
            vigil::size_flag(options.keep_profiles.when_resident_bytes_per_minute, 0,
                             std::int64_t{1} << 40));
  flags.add("allow-changes", "on|off",
            "whether POSTs to the debug pages may change rates and the log level (off)",
            vigil::choice_flag(options.changes, {"on", AgentOptions::Changes::kAllowed},
                               {"off", AgentOptions::Changes::kRefused}));
}

void announce(const std::string& where) {
  fmt::print("listening on {}\n", where);
  std::fflush(stdout);
}

void announce_debug_pages(const vigil::Agent& agent, const AgentOptions& options) {
  if (agent.debug_endpoint().port != 0) announce(vigil::format_host_port(agent.debug_endpoint()));
  if (!options.debug_unix.empty()) announce("unix:" + options.debug_unix);
}

}  // namespace demo
