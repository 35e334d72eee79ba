#include "endpoints/profiles.h"

#include <condition_variable>
#include <mutex>

#include "endpoints/profile_response.h"
#include "sampler/pprof_encoder.h"
#include "sampler/profile.h"
#include "sampler/profile_text.h"

namespace vigil::endpoints {

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

Page profile_page(const sampler::StackProfile& collected, const PageRequest& request,
                  const Services& services, std::string_view file_name) {
  services.totals.add(collected);
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

}  // namespace vigil::endpoints
