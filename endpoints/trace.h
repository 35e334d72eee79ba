// /debug/pprof/trace: what the program's requests and threads did, for ui.perfetto.dev and
// chrome://tracing.
#pragma once

#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// Chrome trace events (sampler/trace/trace_json.h) over `seconds`, a decimal number (1 when absent,
// as Go), as trace.json. Several at once succeed, up to the gate's cap. A client that goes away ends
// its trace. Tasks of Services::tasks that still run at its end are in it.
Page trace_page(const PageRequest& request, const Services& services);

// `seconds` as Go's trace handler takes it, in decimal digits with an optional fraction: "1", "0.25".
// Above 0 and at most `seconds_max`; invalid_argument with a sentence otherwise. Pure.
Result<Duration> fractional_seconds_parameter(std::string_view text, int seconds_max);

}  // namespace vigil::endpoints
