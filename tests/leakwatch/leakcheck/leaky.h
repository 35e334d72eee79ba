// One thing of each kind that can leak: begun by a function of its own, whose name the reports must
// show, and ended by what that returns. A leak test begins and does not end; its twin does both.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "leakwatch/task_registry.h"

namespace vigil::test {

using End = std::function<void()>;

struct LeakKind {
  std::string name;  // "thread"
  End (*begin)();
  std::string kind;     // as the report names it: "thread", "descriptor"
  std::string creator;  // the function in the creator's stack
  std::string now;      // a function in the current stack; empty: the kind has none
};

// The registry whose tasks are looked at. Lives until the process ends.
leakwatch::TaskRegistry& leaky_tasks();

const std::vector<LeakKind>& leak_kinds();

// For programs with many leaks, each of which is looked at to the last try: 0.13 s, not 0.43 s.
constexpr Duration kLeakyPauseMax = std::chrono::milliseconds(20);

// A thread that waits in leaky_thread_waits() until the returned function is called, which joins.
End leaky_begin_thread();
// An open file.
End leaky_begin_file();

}  // namespace vigil::test
