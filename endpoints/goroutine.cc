// The goroutine page: what every task and thread is doing now.
#include <algorithm>
#include <utility>

#include "endpoints/capture_parameters.h"
#include "endpoints/dump.h"
#include "endpoints/profiles.h"
#include "endpoints/snapshots.h"
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

Result<sampler::StackProfile> take_goroutine(const PageRequest& request, const Services& services) {
  const auto options = sample_parameters(request, services.tasks);
  if (!options) return options.error();
  return goroutine_profile(services, *options);
}

}  // namespace

Page goroutine_page(const PageRequest& request, const Services& services) {
  if (lenient_integer(request, "debug") >= 2 && !request.query.contains("seconds")) {
    const auto stacks = services.stacks.capture_all(services.clock.now() + services.dump_timeout);
    const auto tasks = services.tasks.snapshot();
    return text_page(
        format_dump(tasks, stacks, services.clock.now(), await_stacks(services.tasks, tasks)));
  }
  return snapshot_page_of(request, services, take_goroutine);
}

}  // namespace vigil::endpoints
