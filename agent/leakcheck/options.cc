#include "agent/leakcheck/options.h"

#include <algorithm>
#include <string_view>

#include <fmt/core.h>

#include "base/flags.h"

namespace vigil::leakcheck {
namespace {

FlagSetter address_flag(std::string& target) {
  return [&target](std::string_view text) -> Result<void> {
    if (text != "auto") {
      const auto parsed = parse_host_port(text);
      if (!parsed) return parsed.error();
    }
    target = text;
    return {};
  };
}

FlagSetter request_flag(std::vector<DriveRequest>& requests, std::string method) {
  return [&requests, method = std::move(method)](std::string_view path) -> Result<void> {
    if (!path.starts_with('/')) return Error(ErrorCode::kInvalidArgument, "not a path (\"/…\")");
    requests.push_back({method, std::string(path)});
    return {};
  };
}

FlagTable flag_table(Options& options) {
  FlagTable flags(
      "vigil-leakcheck",
      "Looks at a server's debug listener, drives the server, and looks again: what began and did\n"
      "not end is a leak. Drive it with --get and --post, or with a command after \"--\".\n"
      "Exit status: 0 clean, 1 leaks, 2 could not check.");
  flags.add("debug", "A:P|auto", "the debug listener; auto, with --launch: a free port",
            address_flag(options.debug));
  flags.add("target", "A:P|auto", "where --get and --post go; auto as above",
            address_flag(options.target));
  flags.add("launch", "COMMAND",
            "start the server with sh, stop it at the end; {debug} and {target} are the addresses",
            text_flag(options.launch));
  flags.add("get", "PATH", "drive: GET this; may be repeated",
            request_flag(options.requests, "GET"));
  flags.add("post", "PATH", "drive: POST this, without a body",
            request_flag(options.requests, "POST"));
  flags.add("repeat", "N", "each of these so often a round (20)",
            size_flag(options.repeat, 1, 1'000'000));
  flags.add("warm-up", "N",
            "rounds of the drive before the first look, which fill caches and pools (1)",
            size_flag(options.warm_up, 0, 1000));
  flags.add("settle", "DURATION", "how long what was driven may take to end (10s)",
            duration_flag(options.settle));
  flags.add("request-timeout", "DURATION", "for one request's answer (30s)",
            duration_flag(options.request_timeout));
  flags.add("start-timeout", "DURATION", "for --launch's debug listener to answer (30s)",
            duration_flag(options.start_timeout));
  flags.add("heap-growth", "BYTES", "what a call site must hold more to be a leak (4194304)",
            size_flag(options.heap_growth_bytes, 1, std::int64_t{1} << 50));
  flags.add("allow", "FILE", "the allow-list; see docs/leak-check.md",
            text_flag(options.allow_file));
  flags.add("junit", "FILE", "write the result as JUnit XML", text_flag(options.junit_file));
  flags.add("json", "FILE", "write the result as JSON", text_flag(options.json_file));
  flags.add("self-test-program", "PROGRAM", "leaks on purpose before the check (this program)",
            text_flag(options.self_test_program));
  return flags;
}

// What does not go together; empty if all does.
std::string conflict(const Options& options) {
  const bool is_launched = !options.launch.empty();
  if (options.debug.empty() && !is_launched) return "--debug is missing";
  if (!is_launched && options.debug == "auto") return "--debug=auto goes with --launch";
  if (!is_launched && options.target == "auto") return "--target=auto goes with --launch";
  if (options.requests.empty() == options.command.empty()) {
    return options.requests.empty() ? "nothing to drive: give --get, --post, or a command after --"
                                    : "--get and --post do not go with a command after --";
  }
  if (!options.requests.empty() && options.target.empty() && !is_launched) {
    return "--get and --post need --target";
  }
  return "";
}

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv) {
  Options options;
  const auto end = std::find_if(
      argv, argv + argc, [](const char* argument) { return std::string_view("--") == argument; });
  const bool has_command = end != argv + argc;
  if (has_command) options.command.assign(end + 1, argv + argc);
  // getopt_long(3) wants a null pointer behind the last argument.
  std::vector<char*> flags(argv, end);
  flags.push_back(nullptr);
  const auto status = flag_table(options).parse(static_cast<int>(flags.size()) - 1, flags.data());
  if (status) return *status;
  std::string wrong = conflict(options);
  if (has_command && options.command.empty()) wrong = "no command after --";
  if (!wrong.empty()) {
    fmt::print(stderr, "vigil-leakcheck: {}; see vigil-leakcheck --help\n", wrong);
    return kCouldNotCheck;
  }
  if (!options.launch.empty() && options.debug.empty()) options.debug = "auto";
  if (!options.launch.empty() && options.target.empty()) options.target = "auto";
  return options;
}

}  // namespace vigil::leakcheck
