// /debug/leakcheck: all that a leak check from outside compares, in one JSON document.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "endpoints/page.h"
#include "endpoints/services.h"
#include "leakwatch/leakcheck/process_snapshot.h"

namespace vigil::endpoints {

// Tasks, threads with their stacks, descriptors, sockets with their addresses, timers, child
// processes, the heap by call site, what is stuck now. For vigil-leakcheck. Cost: that of a full
// dump and a heap profile.
Page leakcheck_page(const PageRequest& request, const Services& services);

// The document, and back. Pure. parse: invalid_argument with a sentence for what is no such
// document; unknown members are skipped.
std::string snapshot_to_json(const leakwatch::ProcessSnapshot& snapshot);
Result<leakwatch::ProcessSnapshot> parse_snapshot_json(std::string_view text);

}  // namespace vigil::endpoints
