// A trace as Chrome trace events (JSON), which ui.perfetto.dev, chrome://tracing and speedscope
// open.
//
// What is in it, times in microseconds since the trace began:
//   - each request as nestable async events ("b", "e"; cat "request", one id each), because it may
//     move from thread to thread: an outer one named after its route, and inside accept (a new
//     connection's wait for the first byte), head, queue, handler, write. What the request was is in
//     the outer one's args.
//   - on each thread's track complete events ("X"): accept, request, task, the program's spans, lock
//     waits. An arrow ("s", "f") leads from a connection's accept to its first request's handler.
//   - as a second process the threads' run states ("X").
// Whatever began before the trace is shown from its beginning on, whatever had not ended until its
// end, with "unfinished" in its args. Slices of one thread always nest: one that would overlap
// another one's end is shown from there on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "sampler/trace/trace_capture.h"

namespace vigil::sampler {

struct TraceRenderOptions {
  int pid = 1;
  std::string_view process_name = "program";
  // The name of the function at a code address, for who waited for a lock; unset: the address.
  std::function<std::string(std::uintptr_t)> function_at;
  // What does not fit is left out, whole events, the latest first, and counted in "otherData" and
  // in an event of its own. 64 MiB are some 60,000 requests.
  std::size_t bytes_max = 64 * 1024 * 1024;
};

// The process of the run states: no real one has it (PID_MAX_LIMIT is 2^22).
inline constexpr int kRunStatesPid = 1'000'000'000;

// Pure. At most bytes_max and a few KiB (and what the threads' names take).
std::string render_trace(const Trace& trace, const TraceRenderOptions& options);

}  // namespace vigil::sampler
