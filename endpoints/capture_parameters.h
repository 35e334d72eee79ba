// The query parameters of pages that capture samples. Each error is an invalid_argument whose
// sentence names the parameter.
#pragma once

#include <optional>

#include "base/clock.h"
#include "base/result.h"
#include "endpoints/page.h"
#include "leakwatch/task_registry.h"
#include "sampler/sample_table.h"

namespace vigil::endpoints {

// How long a capture takes when the request does not say: as in Go, and what gperftools' clients
// send.
inline constexpr int kCaptureSecondsDefault = 30;

// What a min_latency may be at most: tasks are not watched for longer.
inline constexpr Duration kMinLatencyMax = std::chrono::hours(24);

// `hz`, an integer from `min` to `max`; nullopt when absent.
Result<std::optional<int>> hz_parameter(const PageRequest& request, int min, int max);

// route        a route ("/search") or a task's whole name ("GET /search"); several allowed
// min_latency  a duration above zero ("250ms")
// labels       "none", "all" (with the task's number), or keys with commas between ("route,tenant")
//
// `tasks` answers which tasks still run, and must outlive the options.
Result<sampler::SampleOptions> sample_parameters(const PageRequest& request,
                                                 const leakwatch::TaskRegistry& tasks);

}  // namespace vigil::endpoints
