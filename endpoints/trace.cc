#include "endpoints/trace.h"

#include <unistd.h>

#include <charconv>
#include <cmath>

#include <fmt/core.h>

#include "sampler/trace/trace_capture.h"
#include "sampler/trace/trace_json.h"

namespace vigil::endpoints {
namespace {

constexpr std::string_view kSecondsDefault = "1";  // Go's

std::string_view program_name(const Services& services) {
  if (services.command_line.empty()) return "program";
  const std::string_view path = services.command_line.front();
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

void add_open_tasks(sampler::Trace& trace, const Services& services) {
  for (const leakwatch::TaskInfo& task : services.tasks.snapshot()) {
    trace.open_tasks.push_back(
        {task.thread, static_cast<std::uint64_t>(task.id), task.label, task.started});
  }
}

}  // namespace

Result<Duration> fractional_seconds_parameter(std::string_view text, int seconds_max) {
  double seconds = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, seconds, std::chars_format::fixed);
  // "inf" and "nan" are numbers to it, too.
  if (error != std::errc() || rest != end || !std::isfinite(seconds) || seconds <= 0) {
    return Error(ErrorCode::kInvalidArgument,
                 "invalid value for \"seconds\" - must be a positive number");
  }
  if (seconds > seconds_max) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("invalid value for \"seconds\" - at most {}", seconds_max));
  }
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

Page trace_page(const PageRequest& request, const Services& services) {
  const auto duration = fractional_seconds_parameter(
      request.query.get("seconds").value_or(kSecondsDefault), services.seconds_max);
  if (!duration) return error_page(duration.error());
  sampler::TraceOptions options;
  options.deadline = services.clock.now() + *duration;
  auto trace = sampler::capture_trace(options, services.clock, request.stop);
  if (!trace) return error_page(trace.error());
  add_open_tasks(*trace, services);

  const auto modules = services.modules.current();
  sampler::TraceRenderOptions how;
  how.pid = getpid();
  how.process_name = program_name(services);
  how.function_at = [&](std::uintptr_t address) {
    const auto where =
        services.symbolizer.symbolize(sampler::FrameAddress::return_address(address), *modules);
    return where.frames().empty() ? fmt::format("{:#x}", address)
                                  : where.frames().back().function->name;
  };
  Page page;
  page.content_type = "application/json";
  page.attachment = "trace.json";
  page.body = sampler::render_trace(*trace, how);
  return page;
}

}  // namespace vigil::endpoints
