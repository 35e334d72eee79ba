// Metrics as JSON.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "endpoints/metric_fields.h"
#include "endpoints/metrics.h"

namespace vigil::endpoints {
namespace {

using nlohmann::ordered_json;

// Puts the numbers of `from` where their paths say.
template <typename Source>
void add_fields(ordered_json& into, std::span<const MetricField<Source>> fields,
                const Source& from) {
  for (const MetricField<Source>& field : fields) {
    if (field.json_path.empty()) continue;
    ordered_json& place = into[ordered_json::json_pointer(std::string(field.json_path))];
    std::visit([&](auto number) { place = number; }, field.read(from));
  }
}

ordered_json status_classes(const std::array<std::uint64_t, 6>& classes) {
  ordered_json json = ordered_json::object();
  for (std::size_t i = 1; i < classes.size(); ++i) json[fmt::format("{}xx", i)] = classes[i];
  return json;
}

// `counted`: what the buckets count. The last of `counts` has no bound.
ordered_json histogram(std::span<const Duration> bounds, std::span<const std::uint64_t> counts,
                       const char* counted) {
  ordered_json buckets = ordered_json::array();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const bool bounded = i < bounds.size();
    buckets.push_back(
        {{"up_to_seconds", bounded ? ordered_json(fractional_seconds(bounds[i])) : ordered_json()},
         {counted, counts[i]}});
  }
  return buckets;
}

ordered_json to_json(const http::HandlerStats& stats) {
  return {{"requests", stats.requests()},
          {"status", status_classes(stats.status_classes)},
          {"duration_seconds_total", fractional_seconds(stats.total)},
          {"durations", histogram(http::HandlerStats::kBounds, stats.durations, "requests")}};
}

ordered_json to_json(const ServerMetrics& server) {
  ordered_json json;
  add_fields(json, server_fields(), server.stats);
  if (const auto& expires = server.stats.tls.certificate_expires) {
    json["tls"]["certificate_expires_unix_seconds"] =
        fractional_seconds(expires->time_since_epoch());
  }
  ordered_json routes = ordered_json::object();
  for (const http::RouteStats& route : server.routes) {
    routes[route.pattern] = to_json(route.handler);
  }
  routes[""] = to_json(server.stats.unrouted);
  json["routes"] = std::move(routes);
  return json;
}

ordered_json to_json(const ProfileTotals::Total& total) {
  if (total.span == sampler::CounterSpan::kSinceStart) return {{"profiles", total.profiles}};
  return {{"profiles", total.profiles},
          {"samples", total.samples},
          {"collector_cpu_seconds",
           fractional_seconds(std::chrono::nanoseconds(total.collector_cpu_ns))},
          {"losses", total.losses}};
}

}  // namespace

std::string vars_json(const Metrics& metrics, const std::vector<std::string>& command_line) {
  ordered_json document = {{"cmdline", command_line}, {"version", metrics.version}};
  add_fields(document, process_fields(), metrics);
  document["tasks"]["ages"] = histogram(TaskAges::kBounds, metrics.task_ages.counts, "tasks");
  if (metrics.heap_loss) add_fields(document, heap_fields(), *metrics.heap_loss);
  if (metrics.contention) add_fields(document, contention_fields(), *metrics.contention);
  document["profiles"] = ordered_json::object();
  for (const auto& [name, total] : metrics.profiles) document["profiles"][name] = to_json(total);
  document["timeout_pools"] = ordered_json::object();
  for (const TimeoutPoolMetrics& pool : metrics.timeout_pools) {
    add_fields(document["timeout_pools"][pool.name], timeout_pool_fields(), pool.stats);
  }
  document["servers"] = ordered_json::object();
  for (const ServerMetrics& server : metrics.servers) {
    document["servers"][server.name] = to_json(server);
  }
  // Names are the program's own bytes: what is not UTF-8 is replaced, never an exception.
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace vigil::endpoints
