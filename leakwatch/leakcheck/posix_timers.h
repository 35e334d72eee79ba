// The POSIX timers of this process: /proc/self/timers (proc(5)). (timerfds are descriptors.)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vigil::leakwatch {

struct PosixTimer {
  std::uint64_t id = 0;  // the kernel's; given out in ascending order
  std::string notify;    // "signal/pid.4711", "thread/pid.4711", "none/tid.4711"
  int signal = 0;
  int clock = 0;

  friend bool operator==(const PosixTimer&, const PosixTimer&) = default;
};

// A block begins with "ID: N"; lines that are not known are skipped. Pure.
std::vector<PosixTimer> parse_posix_timers(std::string_view text);

// not_found where the kernel has no such file (it needs CONFIG_CHECKPOINT_RESTORE).
Result<std::vector<PosixTimer>> read_posix_timers();

}  // namespace vigil::leakwatch
