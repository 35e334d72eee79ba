// The watchdog's reports as a page for a browser, and as a profile.
#pragma once

#include <string>

#include "endpoints/services.h"
#include "sampler/stack_profile.h"

namespace vigil::endpoints {

// A table of deadlocks and reports, stuck ones first, each with its stack folded away. It loads
// itself again every two seconds, without a script.
std::string leakwatch_html(const Services& services, MonotonicTime now);

// What is stuck now, one sample a report: its tasks, and the age of its oldest one for each of them.
sampler::StackProfile leakwatch_profile(const Services& services, MonotonicTime now);

}  // namespace vigil::endpoints
