// The goroutine page: what every task and thread is doing now.
#include <algorithm>
#include <utility>

#include "endpoints/capture_parameters.h"
#include "endpoints/dump.h"
#include "endpoints/profile_response.h"
#include "endpoints/profiles.h"
#include "sampler/rounds.h"
#include "sampler/work_labels.h"

namespace vigil::endpoints {
namespace {

// Whether the filters keep this thread. A snapshot knows a task's age, not its end: `min_latency`
// asks for tasks that are as old already.
bool passes(const sampler::ThreadStack& thread, const sampler::SampleOptions& options,
            MonotonicTime now) {
  if (!sampler::is_on_route(thread.work, options.routes)) return false;
  if (options.min_latency == Duration::zero()) return true;
  return thread.work.name != nullptr && now - thread.work.started >= options.min_latency;
}

// One sample a thread, with its labels.
sampler::StackProfile goroutine_profile(const Services& services,
                                        const sampler::SampleOptions& options) {
  const std::int64_t cpu_ns = sampler::own_cpu_ns();
  sampler::StackProfile profile;
  profile.name = "goroutine";
  profile.sample_types = {{"goroutine", "count"}};
  profile.default_sample_type = "goroutine";
  profile.period_type = {"goroutine", "count"};
  profile.period = 1;
  profile.start = services.clock.wall_now();
  for (sampler::ThreadStack& thread :
       services.collector.capture_all(services.clock.now() + services.dump_timeout)) {
    if (!passes(thread, options, services.clock.now())) {
      ++profile.counters["samples_filtered"];
      continue;
    }
    sampler::StackSample& sample = profile.samples.emplace_back();
    sample.stack = std::move(thread.stack);
    sample.values = {1};
    sample.labels = sampler::work_labels(thread.work, {}, options.labels);
    if (thread.step == sampler::CaptureStep::kNone) {
      ++profile.counters["threads_unanswered"];
    } else if (thread.failure != sampler::CaptureFailure::kNone) {
      ++profile.counters["threads_incomplete"];
    }
  }
  profile.counters["collector_cpu_ns"] = sampler::own_cpu_ns() - cpu_ns;
  return profile;
}

// `later` minus `earlier`, sample by sample: both kept, the earlier ones negated; the encoder adds
// equal ones up.
sampler::StackProfile difference(sampler::StackProfile later, sampler::StackProfile earlier,
                                 Duration elapsed) {
  for (sampler::StackSample& sample : earlier.samples) {
    for (std::int64_t& value : sample.values) value = -value;
    later.samples.push_back(std::move(sample));
  }
  for (const auto& [counter, count] : earlier.counters) later.counters[counter] += count;
  later.duration = elapsed;
  return later;
}

Page goroutine_delta_page(const PageRequest& request, const Services& services,
                          const sampler::SampleOptions& options, int seconds) {
  sampler::StackProfile earlier = goroutine_profile(services, options);
  const MonotonicTime begin = services.clock.now();
  if (!wait_for(services.clock, std::chrono::seconds(seconds), request.stop)) {
    return error_page(408, "the client went away");
  }
  return profile_page(difference(goroutine_profile(services, options), std::move(earlier),
                                 services.clock.now() - begin),
                      request, services, "goroutine-delta");
}

}  // namespace

Page goroutine_page(const PageRequest& request, const Services& services) {
  const auto seconds = seconds_parameter(request, services.seconds_max);
  if (!seconds) return error_page(seconds.error());
  const auto options = sample_parameters(request, services.tasks);
  if (!options) return error_page(options.error());
  const int debug = lenient_integer(request, "debug");
  if (seconds->has_value()) {
    if (debug != 0) return error_page(incompatible_parameters());
    return goroutine_delta_page(request, services, *options, **seconds);
  }
  if (debug >= 2) {
    const auto stacks = services.stacks.capture_all(services.clock.now() + services.dump_timeout);
    return text_page(format_dump(services.tasks.snapshot(), stacks, services.clock.now()));
  }
  return profile_page(goroutine_profile(services, *options), request, services, "goroutine");
}

}  // namespace vigil::endpoints
