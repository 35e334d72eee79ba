// The commands of vigil(1): each takes its own command line and gives the exit status. argv[0] is the command's name.
//
//   0   done          1   it could not; one line on stderr says what            2   the command line makes no sense
#pragma once

#include <string>
#include <string_view>

#include "agent/client/debug_server.h"
#include "base/flags.h"

namespace vigil::command {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

// Becomes the program, with the agent in it; returns only if that fails. run.cc
int run_command(int argc, char** argv);
// Fetch a page and keep it. fetch.cc
int profile_command(int argc, char** argv);
int dump_command(int argc, char** argv);
int bundle_command(int argc, char** argv);
// Tasks by route and age, live. top.cc
int top_command(int argc, char** argv);

// "vigil COMMAND: message" on stderr; kFailed.
int fail(std::string_view command, std::string_view message);

// The operand ADDRESS and --token-file, which all that talk to a server have.
void add_server_flags(FlagTable& flags, client::DebugServer& server);

}  // namespace vigil::command
