// What a trace shows on its threads' tracks: the complete events, nested.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "sampler/trace/trace_capture.h"

namespace vigil::sampler {

enum class SliceKind : std::uint8_t { kAccept, kRequest, kTask, kSpan, kLockWait };
enum class SliceEnd : std::uint8_t { kSeen, kUnfinished };

// Times are nanoseconds since the trace began, within it.
struct TraceSlice {
  SliceKind kind = SliceKind::kSpan;
  SliceEnd end_seen = SliceEnd::kSeen;
  pid_t thread = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t before = 0;  // how long before the trace it began
  std::string_view name;
  std::uint64_t task = 0;
  const TraceEvent* event = nullptr;  // of `trace`; null for an open task
};

// All of the trace, those that were open at its end included; of one thread they nest. Ascending by
// begin, the longer first. Pure.
std::vector<TraceSlice> thread_slices(const Trace& trace);

}  // namespace vigil::sampler
