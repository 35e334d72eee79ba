#include "endpoints/profiles.h"

#include <condition_variable>
#include <mutex>
#include <unordered_map>

#include "base/text.h"
#include "endpoints/dump.h"
#include "sampler/pprof_encoder.h"
#include "sampler/profile.h"
#include "sampler/profile_text.h"

namespace vigil::endpoints {
namespace {

constexpr int kCpuSecondsDefault = 30;  // Go's

// Sleeps for `duration`, or until the client is gone (then false).
bool wait_for(Clock& clock, Duration duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable wake;
  const std::stop_callback on_stop(stop, [&] {
    // Under the mutex, or the notification could fall between the check and the wait below.
    std::lock_guard lock(mutex);
    wake.notify_all();
  });
  const MonotonicTime deadline = clock.now() + duration;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested() && clock.now() < deadline) clock.wait_until(lock, wake, deadline);
  return !stop.stop_requested();
}

// The profile in the form that the request asks for: proto, or text with debug≠0.
Page profile_page(const sampler::StackProfile& collected, const PageRequest& request,
                  const Services& services, std::string_view file_name) {
  const bool text = lenient_integer(request, "debug") != 0;
  sampler::Symbolizer* symbolizer =
      request.query.get("symbolize").value_or("") == "0" ? nullptr : &services.symbolizer;
  const sampler::Profile profile =
      sampler::build_profile(collected, *services.modules.current(), symbolizer);
  if (text) return text_page(sampler::render_debug_text(profile));
  Page page;
  page.content_type = "application/octet-stream";
  page.attachment = file_name;
  page.body = sampler::encode_pprof(profile);
  return page;
}

Error incompatible_parameters() {
  return Error(ErrorCode::kInvalidArgument, "seconds and debug params are incompatible");
}

// The innermost task of each thread: of the tasks of one thread, the youngest. `tasks` is oldest
// first.
std::unordered_map<pid_t, const leakwatch::TaskInfo*> innermost_tasks(
    const std::vector<leakwatch::TaskInfo>& tasks) {
  std::unordered_map<pid_t, const leakwatch::TaskInfo*> by_thread;
  for (const leakwatch::TaskInfo& task : tasks) by_thread[task.thread] = &task;
  return by_thread;
}

// One sample a thread, labelled with its task's route.
sampler::StackProfile goroutine_profile(const Services& services) {
  const auto tasks = services.tasks.snapshot();
  const auto by_thread = innermost_tasks(tasks);
  sampler::StackProfile profile;
  profile.name = "goroutine";
  profile.sample_types = {{"goroutine", "count"}};
  profile.default_sample_type = "goroutine";
  profile.period_type = {"goroutine", "count"};
  profile.period = 1;
  profile.start = services.clock.wall_now();
  for (sampler::ThreadStack& thread :
       services.collector.capture_all(services.clock.now() + services.dump_timeout)) {
    sampler::StackSample& sample = profile.samples.emplace_back();
    sample.stack = std::move(thread.stack);
    sample.values = {1};
    const auto task = by_thread.find(thread.tid);
    if (task != by_thread.end()) {
      sample.labels.push_back({"route", std::string(task->second->label), 0, ""});
    }
    if (thread.failure != sampler::CaptureFailure::kNone) ++profile.counters["threads_incomplete"];
  }
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
  later.duration = elapsed;
  return later;
}

Page goroutine_delta_page(const PageRequest& request, const Services& services, int seconds) {
  sampler::StackProfile earlier = goroutine_profile(services);
  const MonotonicTime begin = services.clock.now();
  if (!wait_for(services.clock, std::chrono::seconds(seconds), request.stop)) {
    return error_page(408, "the client went away");
  }
  return profile_page(
      difference(goroutine_profile(services), std::move(earlier), services.clock.now() - begin),
      request, services, "goroutine-delta");
}

}  // namespace

Page cpu_profile_page(const PageRequest& request, const Services& services) {
  const auto seconds = seconds_parameter(request, services.seconds_max);
  if (!seconds) return error_page(seconds.error());
  sampler::CpuProfileOptions options;
  if (const auto text = request.query.get("hz")) {
    const auto hz = parse_integer(*text, sampler::kCpuHzMin, sampler::kCpuHzMax);
    if (!hz) {
      return error_page(400, "invalid value for \"hz\" - " + hz.error().message());
    }
    options.hz = static_cast<int>(*hz);
  }
  options.deadline =
      services.clock.now() + std::chrono::seconds(seconds->value_or(kCpuSecondsDefault));
  const auto profile = services.cpu.profile(options, request.stop);
  if (!profile) return error_page(profile.error());
  return profile_page(*profile, request, services, "profile");
}

Page heap_page(const PageRequest& request, const Services& services) {
  const auto seconds = seconds_parameter(request, services.seconds_max);
  if (!seconds) return error_page(seconds.error());
  if (services.heap == nullptr) return error_page(501, services.heap_absent);
  if (seconds->has_value()) {
    if (lenient_integer(request, "debug") != 0) return error_page(incompatible_parameters());
    if (!wait_for(services.clock, std::chrono::seconds(**seconds), request.stop)) {
      return error_page(408, "the client went away");
    }
  }
  auto profile = services.heap->snapshot(services.clock.wall_now());
  if (!profile) return error_page(profile.error());
  if (seconds->has_value()) profile->duration = std::chrono::seconds(**seconds);
  return profile_page(*profile, request, services, seconds->has_value() ? "heap-delta" : "heap");
}

Page goroutine_page(const PageRequest& request, const Services& services) {
  const auto seconds = seconds_parameter(request, services.seconds_max);
  if (!seconds) return error_page(seconds.error());
  const int debug = lenient_integer(request, "debug");
  if (seconds->has_value()) {
    if (debug != 0) return error_page(incompatible_parameters());
    return goroutine_delta_page(request, services, **seconds);
  }
  if (debug >= 2) {
    const auto stacks = services.stacks.capture_all(services.clock.now() + services.dump_timeout);
    return text_page(format_dump(services.tasks.snapshot(), stacks, services.clock.now()));
  }
  return profile_page(goroutine_profile(services), request, services, "goroutine");
}

}  // namespace vigil::endpoints
