// vigil: starts programs with the agent, and reads what it shows. docs/vigil-command.md.

#include <signal.h>

#include <array>
#include <cstdio>
#include <string_view>

#include <fmt/core.h>

#include "agent/command/command.h"
#include "base/version.h"

namespace {

using namespace vigil::command;  // NOLINT: a program's only file with main

struct Command {
  std::string_view name;
  int (*run)(int argc, char** argv);
  std::string_view help;
};

constexpr std::array kCommands = {
    Command{"run", run_command, "start a program with the agent in it: vigil run -- ./server"},
    Command{"profile", profile_command, "save a profile of a running server"},
    Command{"dump", dump_command, "print where every task and thread is"},
    Command{"bundle", bundle_command,
            "save all that a running server says of itself, for a ticket"},
    Command{"top", top_command, "watch the tasks by route and age; q ends"},
};

void print_help() {
  fmt::print("usage: vigil COMMAND [OPTION]…\nDiagnostics of running C++ servers.\n\n");
  for (const Command& command : kCommands) fmt::print("  {:<9}{}\n", command.name, command.help);
  fmt::print(
      "\nvigil COMMAND --help lists a command's options; vigil --version prints the version.\n"
      "ADDRESS is a debug listener: 127.0.0.1:6060 (the default), 6060, or unix:/run/app.sock.\n");
}

int refuse(std::string_view what) {
  fmt::print(stderr, "vigil: {}; see vigil --help\n", what);
  return kUsage;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return refuse("no command");
  const std::string_view name = argv[1];
  if (name == "--help" || name == "help") {
    print_help();
    return kDone;
  }
  if (name == "--version") {
    fmt::print("vigil {}\n", vigil::kVersionText);
    return kDone;
  }
  for (const Command& command : kCommands) {
    if (command.name == name) return command.run(argc - 1, argv + 1);
  }
  return refuse(fmt::format("no command {}", name));
}
