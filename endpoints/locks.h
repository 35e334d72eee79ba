// /debug/locks: who holds which lock, who waits for it, and where that closes to a deadlock. Text;
// format=json, dot (Graphviz) and svg.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// Of all threads of the process, tasks or not: one paragraph a lock that somebody waits for. What is
// held and not waited for costs nobody anything, and leaves no trace in a thread: it is not listed.
// Cost: a capture of every thread.
Page locks_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
