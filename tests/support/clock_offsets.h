// What ClockJumps and the library that it preloads share: a page of a file.
#pragma once

#include <atomic>
#include <cstdint>

namespace vigil::test {

inline constexpr const char* kClockOffsetsVariable = "VIGIL_TEST_CLOCK_OFFSETS";  // the file

struct ClockOffsets {
  std::atomic<std::int64_t> wall_ns;
  std::atomic<std::int64_t> monotonic_ns;
  std::atomic<std::int64_t> looks;  // at either clock, by the program
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

}  // namespace vigil::test
