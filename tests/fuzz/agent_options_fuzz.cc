// The agent's options: lines "NAME=value" as an environment. Whatever the values are, they are refused by
// a sentence that names a variable, or give options within their ranges; nothing is started.

#include <algorithm>
#include <map>
#include <string>

#include "agent/environment.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vigil;
  using vigil::fuzz::fuzz_require;
  std::string_view left(reinterpret_cast<const char*>(data), size);
  std::map<std::string, std::string, std::less<>> variables;
  while (!left.empty()) {
    const std::string_view line = left.substr(0, left.find('\n'));
    left.remove_prefix(std::min(line.size() + 1, left.size()));
    const std::size_t equals = std::min(line.find('='), line.size());
    // As in a real environment: no value has a zero byte.
    const std::string_view value = line.substr(std::min(equals + 1, line.size()));
    variables.insert_or_assign(std::string(line.substr(0, equals)),
                               std::string(value.substr(0, value.find('\0'))));
  }
  const auto lookup = [&variables](const char* name) -> const char* {
    const auto found = variables.find(std::string_view(name));
    return found == variables.end() ? nullptr : found->second.c_str();
  };
  const auto wanted = agent_environment(lookup, "server", 4711);
  if (!wanted) {
    const std::string& message = wanted.error().message();
    fuzz_require(is_agent_variable(message.substr(0, message.find('='))), "the variable is named");
    return 0;
  }
  const char* const listen = lookup("VIGIL_LISTEN");
  const bool asked = listen != nullptr && *listen != '\0';
  if (!*wanted) return 0;
  fuzz_require(asked, "an agent only where it was asked for");
  const ResidentOptions& options = **wanted;
  fuzz_require(options.program == "server", "the program's name is kept");
  fuzz_require(options.agent.stuck_after >= Duration::zero(), "no time is negative");
  fuzz_require(options.agent.contention_rate >= Duration::zero(), "no rate is negative");
  fuzz_require(options.agent.heap_sample_bytes >= 0, "no size is negative");
  fuzz_require(options.agent.heap_sample_bytes <= std::int64_t{1} << 30, "the largest size");
  fuzz_require(options.log == "stderr" || options.log == "off" || options.log[0] == '/',
               "a log that can be meant");
  return 0;
}
