#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <vector>

#include <fmt/core.h>

#include "agent/command/command.h"
#include "agent/command/run_environment.h"

namespace vigil::command {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLibrary = "libvigil_agent.so";

// Beside this program, or in the library folder of its prefix, which has several names.
Result<std::string> find_agent() {
  std::error_code failed;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failed).parent_path();
  if (failed) return Error(ErrorCode::kNotFound, "/proc/self/exe: " + failed.message());
  for (const char* const place : {".", "../lib", "../lib64", "../lib/x86_64-linux-gnu"}) {
    const fs::path library = folder / place / kLibrary;
    if (::access(library.c_str(), R_OK) == 0) return library.lexically_normal().string();
  }
  return Error(ErrorCode::kNotFound,
               fmt::format("no {} in {} or beside it in lib; --agent=FILE says where it is",
                           kLibrary, folder.string()));
}

int start(const RunOptions& options) {
  std::string agent = options.agent;
  if (agent.empty()) {
    auto found = find_agent();
    if (!found) return fail("run", found.error().message());
    agent = *std::move(found);
  }
  const auto lookup = [](const char* name) -> const char* { return std::getenv(name); };
  const auto changes = run_environment(options, agent, lookup);
  if (!changes) {
    fmt::print(stderr, "vigil run: {}; see vigil run --help\n", changes.error().message());
    return kUsage;
  }
  for (const auto& [name, value] : *changes) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> arguments;
  for (const std::string& word : options.command) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  // As env(1) and sh(1): 127 for what is not there, 126 for what cannot be run.
  const int failed = errno;
  fail("run", Error::from_errno("cannot start " + options.command[0], failed).message());
  return failed == ENOENT ? 127 : 126;
}

}  // namespace

int run_command(int argc, char** argv) {
  RunOptions options;
  const auto status = run_flags(options).parse(argc, argv);
  if (status) return *status;
  if (options.command.empty()) {
    fmt::print(stderr, "vigil run: no program; see vigil run --help\n");
    return kUsage;
  }
  return start(options);
}

}  // namespace vigil::command
