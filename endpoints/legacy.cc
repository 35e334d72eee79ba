#include "endpoints/legacy.h"

#include <string>
#include <utility>

#include "endpoints/capture_parameters.h"
#include "sampler/legacy_profile.h"
#include "sampler/proc_file.h"

namespace vigil::endpoints {
namespace {

// Read at once with the profile: where a library is now is where it was when the stack was taken, nearly always.
std::string current_maps() {
  auto maps = sampler::read_proc_file("/proc/thread-self/maps", sampler::kMapsBytesMax);
  return maps ? *std::move(maps) : std::string();
}

// The clients take any type; the text is for people too.
Page binary_page(std::string body) {
  Page page;
  page.content_type = "application/octet-stream";
  page.body = std::move(body);
  return page;
}

}  // namespace

Page legacy_profile_page(const PageRequest& request, const Services& services) {
  const auto seconds = seconds_parameter(request, services.seconds_max);
  if (!seconds) return error_page(seconds.error());
  sampler::CpuProfileOptions options;
  options.deadline =
      services.clock.now() + std::chrono::seconds(seconds->value_or(kCaptureSecondsDefault));
  const auto profile = services.cpu.profile(options, request.stop);
  if (!profile) return error_page(profile.error());
  services.totals.add(*profile);
  return binary_page(sampler::encode_legacy_cpu(*profile, current_maps()));
}

Page legacy_heap_page(const PageRequest& request, const Services& services) {
  const auto profile = take_heap(request, services);
  if (!profile) return error_page(profile.error());
  services.totals.add(*profile);
  return text_page(sampler::render_legacy_heap(*profile, current_maps()));
}

Page legacy_growth_page(const PageRequest& request, const Services& services) {
  const auto profile = take_growth(request, services);
  if (!profile) return error_page(profile.error());
  services.totals.add(*profile);
  return text_page(sampler::render_legacy_growth(*profile, current_maps()));
}

Page legacy_contention_page_of(const PageRequest& request, const Services& services,
                               TakeSnapshot take) {
  const auto profile = take(request, services);
  if (!profile) return error_page(profile.error());
  services.totals.add(*profile);
  return text_page(sampler::render_legacy_contention(*profile, current_maps()));
}

}  // namespace vigil::endpoints
