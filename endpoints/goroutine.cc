// The goroutine page: what every task and thread is doing now.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "endpoints/capture_parameters.h"
#include "endpoints/dump.h"
#include "endpoints/profiles.h"
#include "endpoints/snapshots.h"
#include "leakwatch/async_task.h"
#include "sampler/rounds.h"
#include "sampler/thread_work.h"
#include "sampler/work_labels.h"

namespace vigil::endpoints {
namespace {

// Whether the filters keep what works on this. A snapshot knows a task's age, not its end:
// `min_latency` asks for tasks that are as old already.
bool passes(const sampler::ThreadWork& work, const sampler::SampleOptions& options,
            MonotonicTime now) {
  if (!sampler::is_on_route(work, options.routes)) return false;
  if (options.min_latency == Duration::zero()) return true;
  return work.name != nullptr && now - work.started >= options.min_latency;
}

// Of a task that no thread works on.
sampler::ThreadWork work_of(const leakwatch::TaskInfo& task) {
  return {sampler::work_name(task.label), static_cast<std::uint64_t>(task.id), task.started, {}};
}

// One sample each for the tasks that wait on no thread, with the functions that await one another
// as its stack. `on_threads`: those that a thread worked on when it was captured.
void add_waiting_tasks(const Services& services, const sampler::SampleOptions& options,
                       const std::unordered_set<std::uint64_t>& on_threads,
                       sampler::StackProfile& profile) {
  for (const leakwatch::TaskInfo& task : services.tasks.snapshot()) {
    if (!task.waiting() || on_threads.contains(static_cast<std::uint64_t>(task.id))) continue;
    const sampler::ThreadWork work = work_of(task);
    if (!passes(work, options, services.clock.now())) {
      ++profile.counters["samples_filtered"];
      continue;
    }
    leakwatch::LiveStack stack = leakwatch::await_stack(services.tasks, task);
    if (!stack.failure.empty()) ++profile.counters["tasks_unanswered"];
    leakwatch::name_places(stack, profile);
    profile.samples.push_back(
        {std::move(stack.raw), {1}, sampler::work_labels(work, {}, options.labels)});
  }
}

// One sample for each thread and each task that waits on none, with its labels.
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
  std::unordered_set<std::uint64_t> on_threads;
  for (sampler::ThreadStack& thread :
       services.collector.capture_all(services.clock.now() + services.dump_timeout)) {
    on_threads.insert(thread.work.task);
    if (!passes(thread.work, options, services.clock.now())) {
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
  add_waiting_tasks(services, options, on_threads, profile);
  profile.counters["collector_cpu_ns"] = sampler::own_cpu_ns() - cpu_ns;
  return profile;
}

// `stack`: of its thread; null: it waits on none.
bool is_on_route(const leakwatch::TaskInfo& task, const leakwatch::LiveStack* stack,
                 const std::vector<std::string>& routes) {
  const auto wants = [&](std::string_view name) {
    return std::find(routes.begin(), routes.end(), name) != routes.end();
  };
  if (stack != nullptr) {
    for (const auto& [key, value] : stack->labels) {
      if (key == "route") return wants(value);  // the program's own replaces the task's
    }
  }
  return routes.empty() || wants(task.label) || wants(sampler::split_name(task.label).route);
}

// Leaves the threads that have a task which passes, with all their tasks: what is inside a request
// is part of it. And the tasks that pass and wait on no thread.
void filter_dump(const sampler::SampleOptions& options, MonotonicTime now,
                 std::vector<leakwatch::TaskInfo>& tasks,
                 std::vector<leakwatch::LiveStack>& stacks) {
  std::unordered_map<pid_t, const leakwatch::LiveStack*> by_thread;
  for (const leakwatch::LiveStack& stack : stacks) by_thread.emplace(stack.thread, &stack);
  const auto passes = [&](const leakwatch::TaskInfo& task) {
    const auto stack = by_thread.find(task.thread);
    const bool is_somewhere = stack != by_thread.end() || task.waiting();
    return is_somewhere && task.age(now) >= options.min_latency &&
           is_on_route(task, stack == by_thread.end() ? nullptr : stack->second, options.routes);
  };
  std::unordered_set<pid_t> wanted;
  for (const leakwatch::TaskInfo& task : tasks) {
    if (!task.waiting() && passes(task)) wanted.insert(task.thread);
  }
  std::erase_if(tasks, [&](const auto& task) {
    return task.waiting() ? !passes(task) : !wanted.contains(task.thread);
  });
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
