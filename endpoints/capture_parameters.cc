#include "endpoints/capture_parameters.h"

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::endpoints {
namespace {

Error bad_value(std::string_view parameter, std::string_view must) {
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("invalid value for \"{}\" - must be {}", parameter, must));
}

Result<Duration> min_latency_parameter(const PageRequest& request) {
  const auto text = request.query.get("min_latency");
  if (!text) return Duration::zero();
  const Result<Duration> latency = parse_duration(*text);
  if (!latency || *latency <= Duration::zero() || *latency > kMinLatencyMax) {
    return bad_value("min_latency", "a duration above zero, such as 250ms, and at most 24h");
  }
  return *latency;
}

Result<sampler::LabelChoice> labels_parameter(const PageRequest& request) {
  using sampler::LabelChoice;
  const auto text = request.query.get("labels");
  if (!text) return LabelChoice{};
  if (*text == "all") return LabelChoice{LabelChoice::Kind::kAll};
  if (*text == "none") return LabelChoice{LabelChoice::Kind::kNone};
  LabelChoice choice{LabelChoice::Kind::kOnly};
  std::string_view rest = *text;
  while (true) {
    const std::size_t comma = rest.find(',');
    const std::string_view key = rest.substr(0, comma);
    if (key.empty()) return bad_value("labels", "none, all, or keys with commas between");
    choice.keys.emplace_back(key);
    if (comma == std::string_view::npos) return choice;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace

Result<std::optional<int>> hz_parameter(const PageRequest& request, int min, int max) {
  const auto text = request.query.get("hz");
  if (!text) return std::optional<int>();
  const auto hz = parse_integer(*text, min, max);
  if (!hz) return bad_value("hz", fmt::format("an integer from {} to {}", min, max));
  return std::optional<int>(static_cast<int>(*hz));
}

Result<sampler::SampleOptions> sample_parameters(const PageRequest& request,
                                                 const leakwatch::TaskRegistry& tasks) {
  sampler::SampleOptions options;
  for (const auto& [name, value] : request.query) {
    if (name != "route") continue;
    if (value.empty()) return bad_value("route", "a route, such as /search");
    options.routes.push_back(value);
  }
  Result<Duration> latency = min_latency_parameter(request);
  if (!latency) return std::move(latency).error();
  options.min_latency = *latency;
  Result<sampler::LabelChoice> labels = labels_parameter(request);
  if (!labels) return std::move(labels).error();
  options.labels = *std::move(labels);
  options.is_live = [&tasks](std::uint64_t id, MonotonicTime started) {
    // The start tells tasks of other registries, which count from one too.
    const auto task = tasks.find(leakwatch::TaskId{id});
    return task && task->started == started;
  };
  return options;
}

}  // namespace vigil::endpoints
