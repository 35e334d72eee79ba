// /debug/pprof/{profile,wall,goroutine} and /debug/fgprof: where time goes, and where every thread
// is. Heap: snapshots.h.
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

// Tasks and threads: a snapshot page (snapshots.h), grouped by stack and labels. A task that waits
// on no thread (a coroutine) has the functions that await one another as its stack. With `route`,
// `min_latency` (tasks that are as old now) and `labels` as in the profiles. debug=2: one block
// each, tasks first, all of them. seconds=N: the difference of two dumps.
Page goroutine_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
