// Leaks on purpose, one function for each kind: what vigil-leakcheck must find, in itself before it
// is trusted, and in the demo. Nothing here is ever ended, but by the process.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace vigil::leakcheck {

// "thread", "descriptor", "socket", "timer", "process", "heap".
std::span<const std::string_view> leak_kinds();

// Leaves one of `kind` behind; a heap leak is of 1 MiB. not_found for another kind; an error of the
// system call that failed. Thread-safe.
Result<void> leave_behind(std::string_view kind);

}  // namespace vigil::leakcheck
