// Before vigil-leakcheck is trusted: a child that leaks one of each kind must be found leaking, and
// clean before it does.
#pragma once

#include <string>

#include "agent/leakcheck/check.h"
#include "base/result.h"

namespace vigil::leakcheck {

// The argument that makes a program the child.
inline constexpr const char* kSelfTestChild = "--self-test-child";

// Runs `program` --self-test-child and checks it. An error names what was not seen.
Result<void> self_test(const std::string& program, Progress& progress);

// The child: a server with nothing but its debug pages. Prints "debug A:P"; at the line "leak" it
// leaks one of each kind and prints "leaked"; ends when its input does. The exit status.
int run_self_test_child();

}  // namespace vigil::leakcheck
