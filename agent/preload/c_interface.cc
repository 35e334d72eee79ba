#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <string>
#include <string_view>

#include "agent/environment.h"
#include "agent/preload/armed.h"
#include "agent/vigil_agent.h"

#define VIGIL_EXPORT __attribute__((visibility("default")))

namespace {

using vigil::Error;
using vigil::ErrorCode;
using vigil::Result;

unsigned long copy_cut(std::string_view text, char* into, unsigned long bytes) {
  if (into != nullptr && bytes > 0) {
    const std::size_t length = std::min<std::size_t>(text.size(), bytes - 1);
    std::memcpy(into, text.data(), length);
    into[length] = '\0';
  }
  return text.size();
}

// "listen=127.0.0.1:0 log=off" as variables. An error where a word is no setting.
Result<std::map<std::string, std::string>> variables_of(std::string_view settings) {
  std::map<std::string, std::string> variables;
  while (!settings.empty()) {
    const std::string_view word = settings.substr(0, settings.find(' '));
    settings.remove_prefix(std::min(word.size() + 1, settings.size()));
    if (word.empty()) continue;
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) {
      return Error(ErrorCode::kInvalidArgument, std::string(word) + ": not name=value");
    }
    std::string name("VIGIL_");
    for (const char c : word.substr(0, equals)) {
      name.push_back(static_cast<char>('a' <= c && c <= 'z' ? c - 'a' + 'A' : c));
    }
    if (!vigil::is_agent_variable(name)) {
      return Error(ErrorCode::kInvalidArgument, std::string(word) + ": there is no such setting");
    }
    variables[name] = word.substr(equals + 1);
  }
  return variables;
}

Result<void> start(const char* settings) {
  auto variables = variables_of(settings != nullptr ? settings : "");
  if (!variables) return std::move(variables).error();
  const auto lookup = [&variables](const char* name) -> const char* {
    const auto found = variables->find(name);
    if (found != variables->end()) return found->second.c_str();
    // Who asks for an agent in code means this process.
    if (std::string_view(name) == vigil::kOwnerVariable) return nullptr;
    return ::getenv(name);
  };
  auto wanted = vigil::agent_environment(lookup, program_invocation_short_name, ::getpid());
  if (!wanted) return std::move(wanted).error();
  if (!*wanted)
    return Error(ErrorCode::kInvalidArgument, "neither listen= nor VIGIL_LISTEN is set");
  return vigil::preload::arm(**std::move(wanted));
}

}  // namespace

extern "C" {

VIGIL_EXPORT int vigil_agent_start(const char* settings, char* error, unsigned long error_bytes) {
  try {
    const Result<void> started = start(settings);
    if (started) return 0;
    copy_cut(started.error().message(), error, error_bytes);
  } catch (const std::exception& thrown) {
    copy_cut(thrown.what(), error, error_bytes);
  }
  return -1;
}

VIGIL_EXPORT void vigil_agent_stop() { vigil::preload::disarm(); }

VIGIL_EXPORT unsigned long vigil_agent_address(char* address, unsigned long address_bytes) {
  return copy_cut(vigil::preload::armed_address(), address, address_bytes);
}

VIGIL_EXPORT const char* vigil_agent_version() { return VIGIL_VERSION; }

}  // extern "C"
