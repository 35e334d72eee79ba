#include "endpoints/snapshots.h"

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "endpoints/delta_baselines.h"
#include "endpoints/profile_formats.h"
#include "sampler/own_wait.h"
#include "sampler/profile_delta.h"

namespace vigil::endpoints {
namespace {

Error heap_absent(const Services& services) {
  return Error(ErrorCode::kUnsupported, services.heap_absent);
}

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
  const sampler::OwnWait pause;
  while (!stop.stop_requested() && clock.now() < deadline) clock.wait_until(lock, wake, deadline);
  return !stop.stop_requested();
}

Page difference_page(const PageRequest& request, const Services& services, TakeSnapshot take,
                     ProfileFormat format, Duration duration) {
  auto earlier = take(request, services);
  if (!earlier) return error_page(earlier.error());
  const MonotonicTime begin = services.clock.now();
  if (!wait_for(services.clock, duration, request.stop)) {
    return error_page(408, "the client went away");
  }
  auto later = take(request, services);
  if (!later) return error_page(later.error());
  const std::string name = later->name + "-delta";
  return profile_page(
      sampler::subtract(*std::move(later), *std::move(earlier), services.clock.now() - begin),
      format, request, services, name);
}

}  // namespace

Result<sampler::StackProfile> take_heap(const PageRequest& request, const Services& services) {
  if (services.heap == nullptr) return heap_absent(services);
  if (lenient_integer(request, "gc") > 0) services.heap->release_free_memory();
  return services.heap->snapshot(services.clock.wall_now());
}

Result<sampler::StackProfile> take_allocs(const PageRequest& request, const Services& services) {
  if (services.heap == nullptr) return heap_absent(services);
  if (services.heap->columns() == sampler::HeapColumns::kInuse) {
    return Error(ErrorCode::kUnsupported,
                 "tcmalloc keeps live objects only: for what was ever allocated, link "
                 "vigil::tcmalloc_samples");
  }
  auto heap = take_heap(request, services);
  if (!heap) return heap;
  return sampler::allocs_profile_of(*std::move(heap));
}

Result<sampler::StackProfile> take_growth(const PageRequest&, const Services& services) {
  if (services.heap == nullptr) return heap_absent(services);
  return services.heap->growth(services.clock.wall_now());
}

Page snapshot_page_of(const PageRequest& request, const Services& services, TakeSnapshot take) {
  const auto seconds = seconds_parameter(request, services.seconds_max);
  if (!seconds) return error_page(seconds.error());
  const auto format = profile_format(request);
  if (!format) return error_page(format.error());
  if (seconds->has_value() && lenient_integer(request, "debug") != 0) {
    return error_page(400, "seconds and debug params are incompatible");
  }
  if (seconds->has_value()) {
    return difference_page(request, services, take, *format, std::chrono::seconds(**seconds));
  }
  const auto profile = take(request, services);
  if (!profile) return error_page(profile.error());
  return profile_page(*profile, *format, request, services, profile->name);
}

Page delta_page_of(const PageRequest& request, const Services& services, TakeSnapshot take) {
  const auto format = profile_format(request);
  if (!format) return error_page(format.error());
  auto profile = take(request, services);
  if (!profile) return error_page(profile.error());
  // An id of its own choosing, else who it is. The page's name first: each page has its own baselines.
  const auto id = request.query.get("id");
  const std::string client = id ? fmt::format("{}\nid\n{}", profile->name, *id)
                                : fmt::format("{}\nclient\n{}", profile->name, request.client);
  const std::string file_name = profile->name + ".pprof.gz";  // godeltaprof's
  return profile_page(
      services.baselines.exchange(client, *std::move(profile), services.clock.now()), *format,
      request, services, file_name);
}

}  // namespace vigil::endpoints
