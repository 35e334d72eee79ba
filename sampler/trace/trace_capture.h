// Records a trace: what the program's threads emit, and their run states, for a time.
//
//   TraceOptions options;
//   options.deadline = clock.now() + 1s;
//   Result<Trace> trace = capture_trace(options, clock, stop);
//   std::string json = render_trace(*trace, …);                       // trace_json.h
#pragma once

#include <cstdint>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/trace/run_states.h"
#include "sampler/trace/trace_buffer.h"

namespace vigil::sampler {

struct TraceOptions {
  MonotonicTime deadline = kNoDeadline;  // when the trace ends
  // Events kept, 128 bytes each; later ones are dropped and counted.
  std::size_t events_max = 262'144;
  // Slices of run states kept, 48 bytes each.
  std::size_t run_slices_max = 262'144;
};

// Looks at one thread a second, of all threads together: with more than 100 threads they come less
// often than every 10 ms.
inline constexpr int kTraceLooksPerSecond = 10'000;

// A task that was still alive when the trace ended.
struct OpenTask {
  pid_t thread = 0;
  std::uint64_t id = 0;
  std::string_view name;
  MonotonicTime began{};
};

// What is not in it.
struct TraceLosses {
  std::uint64_t overwritten = 0;     // events that came faster than they were read
  std::uint64_t dropped = 0;         // events beyond events_max
  MonotonicTime dropped_from{};      // when that began
  std::uint64_t slices_dropped = 0;  // beyond run_slices_max
  std::string run_states_absent;     // why there are none; empty if there are
};

struct Trace {
  MonotonicTime began{};
  MonotonicTime ended{};
  WallTime began_wall{};
  std::vector<TraceEvent> events;  // those of one thread in their order
  std::vector<RunSlice> run_slices;
  std::vector<OpenTask> open_tasks;  // the caller's to fill in
  std::map<pid_t, std::string> thread_names;
  Duration look_interval{};  // between two looks at the threads
  Duration collector_cpu{};
  TraceLosses losses;
};

// Blocks until the deadline or until `stop` is requested. Any number may run at once, each on its
// own thread and with its own time. `clock` must be the machine's for the events' times to fit.
//   closed               stopped
//   resource_exhausted   no memory for the rings
Result<Trace> capture_trace(const TraceOptions& options, Clock& clock, const std::stop_token& stop);

}  // namespace vigil::sampler
