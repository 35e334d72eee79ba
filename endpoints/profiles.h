// /debug/pprof/{profile,wall,heap,goroutine} and /debug/fgprof: what go tool pprof reads, and its text forms.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// CPU profile over `seconds` (30 when absent), at `hz` (100; 1 to 1000), of the samples that pass
// `route` and `min_latency`, with `labels` (capture_parameters.h). Several at once succeed, up to
// the gate's cap, then 429. A client that goes away ends its capture.
Page cpu_profile_page(const PageRequest& request, const Services& services);

// Wall-clock profile over `seconds` (30), at `hz` (50; 1 to 1000), `of` threads (all, the default)
// or tasks (threads that are in one), with the same filters and labels and the label `state`.
// fgprof is the same under the name that Parca and Alloy know.
Page wall_profile_page(const PageRequest& request, const Services& services);
Page fgprof_page(const PageRequest& request, const Services& services);

// In-use heap. `gc` is accepted and has nothing to do: C++ frees at once. debug≠0: text. seconds=N:
// waits and answers with the heap as it is then (in-use columns of a delta stay current; see
// golang/go#67942).
Page heap_page(const PageRequest& request, const Services& services);

// Tasks and threads. debug=0 proto and debug=1 text: grouped by stack and labels, with `route`,
// `min_latency` (tasks that are as old now) and `labels` as in the profiles. debug=2: one block
// each, tasks first, all of them. seconds=N: the difference of two dumps.
Page goroutine_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
