// The pages that sample for a time: CPU and wall clock.
#include <utility>

#include "endpoints/capture_parameters.h"
#include "endpoints/profile_formats.h"
#include "endpoints/profiles.h"

namespace vigil::endpoints {
namespace {

// What both read from the query: the answer's form is returned. Options: the profiler's own.
template <typename Options>
Result<ProfileFormat> read_parameters(const PageRequest& request, const Services& services,
                                      int hz_min, int hz_max, Options& options) {
  const auto seconds = seconds_parameter(request, services.seconds_max);
  if (!seconds) return seconds.error();
  const auto hz = hz_parameter(request, hz_min, hz_max);
  if (!hz) return hz.error();
  auto samples = sample_parameters(request, services.tasks);
  if (!samples) return std::move(samples).error();
  options.hz = hz->value_or(options.hz);
  options.samples = *std::move(samples);
  options.deadline =
      services.clock.now() + std::chrono::seconds(seconds->value_or(kCaptureSecondsDefault));
  return profile_format(request);
}

Result<sampler::WallThreads> of_parameter(const PageRequest& request) {
  const std::string_view of = request.query.get("of").value_or("threads");
  if (of == "threads") return sampler::WallThreads::kAll;
  if (of == "tasks") return sampler::WallThreads::kWithTasks;
  return Error(ErrorCode::kInvalidArgument, "invalid value for \"of\" - must be tasks or threads");
}

Page wall_clock_page(const PageRequest& request, const Services& services,
                     std::string_view file_name) {
  sampler::WallProfileOptions options;
  const auto of = of_parameter(request);
  if (!of) return error_page(of.error());
  options.of = *of;
  const auto format =
      read_parameters(request, services, sampler::kWallHzMin, sampler::kWallHzMax, options);
  if (!format) return error_page(format.error());
  const auto profile = services.wall.profile(options, request.stop);
  if (!profile) return error_page(profile.error());
  return profile_page(*profile, *format, request, services, file_name);
}

}  // namespace

Page cpu_profile_page(const PageRequest& request, const Services& services) {
  sampler::CpuProfileOptions options;
  const auto format =
      read_parameters(request, services, sampler::kCpuHzMin, sampler::kCpuHzMax, options);
  if (!format) return error_page(format.error());
  const auto profile = services.cpu.profile(options, request.stop);
  if (!profile) return error_page(profile.error());
  return profile_page(*profile, *format, request, services, "profile");
}

Page wall_profile_page(const PageRequest& request, const Services& services) {
  return wall_clock_page(request, services, "wall");
}

Page fgprof_page(const PageRequest& request, const Services& services) {
  return wall_clock_page(request, services, "fgprof");
}

}  // namespace vigil::endpoints
