// The goroutine page: what every task and thread is doing now.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "endpoints/capture_parameters.h"
#include "endpoints/dump.h"
#include "endpoints/profiles.h"
#include "endpoints/snapshots.h"
#include "sampler/rounds.h"
#include "sampler/thread_work.h"
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

bool is_on_route(const leakwatch::TaskInfo& task, const leakwatch::LiveStack& stack,
                 const std::vector<std::string>& routes) {
  const auto wants = [&](std::string_view name) {
    return std::find(routes.begin(), routes.end(), name) != routes.end();
  };
  for (const auto& [key, value] : stack.labels) {
    if (key == "route") return wants(value);  // the program's own replaces the task's
  }
  return routes.empty() || wants(task.label) || wants(sampler::split_name(task.label).route);
}

// Leaves the threads that have a task which passes, with all their tasks: what is inside a request
// is part of it.
void filter_dump(const sampler::SampleOptions& options, MonotonicTime now,
                 std::vector<leakwatch::TaskInfo>& tasks,
                 std::vector<leakwatch::LiveStack>& stacks) {
  std::unordered_map<pid_t, const leakwatch::LiveStack*> by_thread;
  for (const leakwatch::LiveStack& stack : stacks) by_thread.emplace(stack.thread, &stack);
  std::unordered_set<pid_t> wanted;
  for (const leakwatch::TaskInfo& task : tasks) {
    const auto stack = by_thread.find(task.thread);
    if (stack != by_thread.end() && task.age(now) >= options.min_latency &&
        is_on_route(task, *stack->second, options.routes)) {
      wanted.insert(task.thread);
    }
  }
  std::erase_if(tasks, [&](const auto& task) { return !wanted.contains(task.thread); });
  std::erase_if(stacks, [&](const auto& stack) { return !wanted.contains(stack.thread); });
}

// debug=2. All labels are shown, whatever `labels` says.
Page dump_page(const PageRequest& request, const Services& services) {
  const auto options = sample_parameters(request, services.tasks);
  if (!options) return error_page(options.error());
  auto stacks = services.stacks.capture_all(services.clock.now() + services.dump_timeout);
  auto tasks = services.tasks.snapshot();
  const MonotonicTime now = services.clock.now();
  if (options->has_filter()) filter_dump(*options, now, tasks, stacks);
  return text_page(format_dump(tasks, stacks, now, await_stacks(services.tasks, tasks)));
}

Result<sampler::StackProfile> take_goroutine(const PageRequest& request, const Services& services) {
  const auto options = sample_parameters(request, services.tasks);
  if (!options) return options.error();
  return goroutine_profile(services, *options);
}

}  // namespace

Page goroutine_page(const PageRequest& request, const Services& services) {
  if (lenient_integer(request, "debug") >= 2 && !request.query.contains("seconds")) {
    return dump_page(request, services);
  }
  return snapshot_page_of(request, services, take_goroutine);
}

}  // namespace vigil::endpoints
