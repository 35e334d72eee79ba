// Metrics as JSON.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "endpoints/metrics.h"

namespace vigil::endpoints {
namespace {

using nlohmann::ordered_json;

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

ordered_json status_classes(const std::array<std::uint64_t, 6>& classes) {
  ordered_json json = ordered_json::object();
  for (std::size_t i = 1; i < classes.size(); ++i) json[fmt::format("{}xx", i)] = classes[i];
  return json;
}

ordered_json to_json(const http::HandlerStats& stats) {
  ordered_json durations = ordered_json::array();
  for (std::size_t i = 0; i < stats.durations.size(); ++i) {
    const bool bounded = i < http::HandlerStats::kBounds.size();
    durations.push_back(
        {{"up_to_seconds",
          bounded ? ordered_json(seconds(http::HandlerStats::kBounds[i])) : ordered_json()},
         {"requests", stats.durations[i]}});
  }
  return {{"requests", stats.requests()},
          {"status", status_classes(stats.status_classes)},
          {"duration_seconds_total", seconds(stats.total)},
          {"durations", std::move(durations)}};
}

ordered_json to_json(const http::WebSocketStats& stats) {
  ordered_json closed = ordered_json::object();
  for (std::size_t i = 0; i < http::kCloseClasses; ++i) {
    closed[http::close_class_name(http::CloseClass(i))] = stats.closed[i];
  }
  return {{"open", stats.open},
          {"opened", stats.opened},
          {"messages_in", stats.messages_in},
          {"messages_out", stats.messages_out},
          {"closed", std::move(closed)}};
}

ordered_json to_json(const ServerMetrics& server) {
  const http::ServerStats& stats = server.stats;
  const auto& now = stats.connections;
  ordered_json routes = ordered_json::object();
  for (const http::RouteStats& route : server.routes)
    routes[route.pattern] = to_json(route.handler);
  routes[""] = to_json(stats.unrouted);
  return {{"connections",
           {{"new", now.fresh},
            {"reading_head", now.reading_head},
            {"reading_body", now.reading_body},
            {"handling", now.handling},
            {"queued", now.queued},
            {"flushing", now.flushing},
            {"idle", now.idle},
            {"lingering", now.lingering},
            {"open", now.open()}}},
          {"accepted", stats.accepted},
          {"accept_errors", stats.accept_errors},
          {"in_flight", now.handling},
          {"requests", stats.requests},
          {"status", status_classes(stats.status_classes)},
          {"bad_requests", stats.bad_requests},
          {"handler_exceptions", stats.handler_exceptions},
          {"timeouts",
           {{"read_header", stats.timeouts.read_header},
            {"read", stats.timeouts.read},
            {"write", stats.timeouts.write},
            {"idle", stats.timeouts.idle}}},
          {"limits_hit",
           {{"connections", stats.limits_hit.connections},
            {"connections_per_ip", stats.limits_hit.connections_per_ip},
            {"in_flight", stats.limits_hit.in_flight},
            {"threads", stats.limits_hit.threads},
            {"descriptors", stats.limits_hit.descriptors},
            {"filters", stats.limits_hit.filters},
            {"accept_pauses", stats.limits_hit.accept_pauses}}},
          {"queue",
           {{"entered", stats.queue.entered},
            {"timed_out", stats.queue.timed_out},
            {"abandoned", stats.queue.abandoned},
            {"wait_seconds_total", seconds(stats.queue.waited)}}},
          {"out_of_memory", stats.out_of_memory},
          {"bytes_received", stats.bytes_received},
          {"bytes_sent", stats.bytes_sent},
          {"ran_inline", stats.ran_inline},
          {"ran_handed_over", stats.ran_handed_over},
          {"rescued", stats.rescued},
          {"threads", stats.threads_now},
          {"headers_refused", stats.headers_refused},
          {"websockets", to_json(stats.websockets)},
          {"routes", std::move(routes)}};
}

ordered_json to_json(const ProcessFigures& process) {
  return {{"cpu_seconds", process.cpu_seconds},
          {"resident_bytes", process.resident_bytes},
          {"virtual_bytes", process.virtual_bytes},
          {"open_fds", process.open_fds},
          {"max_fds", process.max_fds},
          {"threads", process.threads},
          {"start_time_unix_seconds", process.start_time_seconds}};
}

}  // namespace

std::string vars_json(const Metrics& metrics, const std::vector<std::string>& command_line) {
  ordered_json servers = ordered_json::object();
  for (const ServerMetrics& server : metrics.servers) servers[server.name] = to_json(server);
  ordered_json pools = ordered_json::object();
  for (const TimeoutPoolMetrics& pool : metrics.timeout_pools) {
    pools[pool.name] = {{"calls", pool.stats.calls},
                        {"timed_out", pool.stats.timed_out},
                        {"refused", pool.stats.refused},
                        {"running", pool.stats.running},
                        {"leaked", pool.stats.leaked}};
  }
  ordered_json profiles = ordered_json::object();
  for (const auto& [name, total] : metrics.profiles) {
    profiles[name] = {
        {"profiles", total.profiles},
        {"samples", total.samples},
        {"collector_cpu_seconds", seconds(std::chrono::nanoseconds(total.collector_cpu_ns))},
        {"losses", total.losses}};
  }
  const ordered_json document = {{"cmdline", command_line},
                                 {"version", metrics.version},
                                 {"process", to_json(metrics.process)},
                                 {"tasks",
                                  {{"live", metrics.tasks.live},
                                   {"started", metrics.tasks.started},
                                   {"untracked", metrics.tasks.untracked}}},
                                 {"profiles", std::move(profiles)},
                                 {"watchdog",
                                  {{"threshold_seconds", seconds(metrics.stuck_after)},
                                   {"stuck_now", metrics.watchdog.stuck_now},
                                   {"flagged", metrics.watchdog.flagged},
                                   {"leaked", metrics.watchdog.leaked},
                                   {"stalled", metrics.watchdog.stalled},
                                   {"recovered", metrics.watchdog.recovered},
                                   {"reports_dropped", metrics.watchdog.reports_dropped}}},
                                 {"timeout_pools", std::move(pools)},
                                 {"servers", std::move(servers)}};
  // Names are the program's own bytes: what is not UTF-8 is replaced, never an exception.
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace vigil::endpoints
