// Which leaks are none: what a test program must live with.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sampler/stack_text.h"

namespace vigil::leakwatch {

// A rule is a name as reports print it, without parameters ("grpc_core::Executor::ThreadMain"). A
// trailing '*' makes it a prefix ("grpc_core::*"). Everything else is compared whole.
struct IgnoreRules {
  std::vector<std::string> top_function;  // the innermost frame of where it is now
  std::vector<std::string> any_function;  // any frame of where it is now
  std::vector<std::string> creator;       // any frame of where it was created
  std::vector<std::string> thread_name;   // of a thread, or of the thread that runs a task

  bool need_current_stacks() const { return !top_function.empty() || !any_function.empty(); }
};

// What the rules look at.
struct IgnoreFacts {
  std::span<const sampler::TextFrame> now;
  std::span<const sampler::TextFrame> created;
  std::string_view thread_name;
};

bool matches_rule(std::string_view name, std::string_view rule);
// Pure.
bool is_ignored(const IgnoreRules& rules, const IgnoreFacts& facts);

}  // namespace vigil::leakwatch
