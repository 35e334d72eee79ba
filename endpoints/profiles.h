// /debug/pprof/{profile,heap,goroutine}: what go tool pprof reads, and its text forms.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// CPU profile over `seconds` (30 when absent), at `hz` (100; 1 to 1000). Several at once succeed,
// up to the sampler's cap, then 429. A client that goes away ends its capture.
Page cpu_profile_page(const PageRequest& request, const Services& services);

// In-use heap. `gc` is accepted and has nothing to do: C++ frees at once. debug≠0: text. seconds=N:
// waits and answers with the heap as it is then (in-use columns of a delta stay current; see
// golang/go#67942).
Page heap_page(const PageRequest& request, const Services& services);

// Tasks and threads. debug=0 proto and debug=1 text: grouped by stack, with the label `route`.
// debug=2: one block each, tasks first. seconds=N: the difference of two dumps.
Page goroutine_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
