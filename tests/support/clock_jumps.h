// Clocks that jump, as an administrator, NTP or a machine that was suspended make them: a library that is preloaded into a
// program stands before its clock_gettime(2) and its waits until a time.
//
//   ClockJumps clocks;
//   Demo demo({}, kDemoProgram, clocks.environment());
//   clocks.shift_wall(-1h);              // from now on it is an hour earlier there, with whatever runs
//
// What is in the kernel already (a wait that has begun, a timer) goes on as it was.
#pragma once

#include <map>
#include <string>

#include "base/clock.h"
#include "tests/support/clock_offsets.h"
#include "tests/support/temporary_folder.h"

namespace vigil::test {

class ClockJumps {
 public:
  // Throws std::runtime_error if the file that both sides share cannot be made.
  ClockJumps();
  ~ClockJumps();
  ClockJumps(const ClockJumps&) = delete;
  ClockJumps& operator=(const ClockJumps&) = delete;

  // For the program's start.
  std::map<std::string, std::string> environment() const;

  // CLOCK_REALTIME and its relatives.
  void shift_wall(Duration by) { offsets_->wall_ns += by.count(); }
  // CLOCK_MONOTONIC and its relatives; forward only, as the kernel promises.
  void shift_monotonic(Duration by) { offsets_->monotonic_ns += by.count(); }

 private:
  TemporaryFolder folder_;
  ClockOffsets* offsets_ = nullptr;
};

}  // namespace vigil::test
