#include "agent/command/command.h"

#include <cstdio>

#include <fmt/core.h>

#include "agent/token_file.h"

namespace vigil::command {

int fail(std::string_view command, std::string_view message) {
  fmt::print(stderr, "vigil {}: {}\n", command, message);
  return kFailed;
}

void add_server_flags(FlagTable& flags, client::DebugServer& server) {
  flags.add("token-file", "FILE", "the debug listener's token, in the first line of FILE",
            [&server](std::string_view path) -> Result<void> {
              auto token = read_token_file(std::string(path));
              if (!token) return token.error();
              server.token = *std::move(token);
              return {};
            });
  flags.add_operand("ADDRESS", [&server](std::string_view text) -> Result<void> {
    auto parsed = client::parse_debug_server(text);
    if (!parsed) return parsed.error();
    parsed->token = std::move(server.token);
    server = *std::move(parsed);
    return {};
  });
}

}  // namespace vigil::command
