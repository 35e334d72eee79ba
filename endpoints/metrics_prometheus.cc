// Metrics as Prometheus text.
#include <functional>
#include <initializer_list>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "endpoints/metrics.h"

namespace vigil::endpoints {
namespace {

struct Label {
  std::string_view name;
  std::string_view value;
};
using Labels = std::initializer_list<Label>;

std::string label_text(Labels labels, std::string_view more = {}) {
  std::string text;
  for (const Label& label : labels) {
    if (!text.empty()) text += ',';
    text += fmt::format("{}=\"{}\"", label.name, escaped_label(label.value));
  }
  if (!more.empty() && !text.empty()) text += ',';
  text += more;
  return text.empty() ? text : "{" + text + "}";
}

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// Writes families one after the other, each with its HELP and TYPE.
class Writer {
 public:
  void counter(std::string_view name, std::string_view help) { family(name, help, "counter"); }
  void gauge(std::string_view name, std::string_view help) { family(name, help, "gauge"); }
  void histogram(std::string_view name, std::string_view help) { family(name, help, "histogram"); }

  // A sample of the family that was begun last.
  template <typename Number>
  void sample(Labels labels, Number value) {
    text_ += fmt::format("{}{} {}\n", name_, label_text(labels), value);
  }

  // All samples of one histogram; buckets are cumulative in this format.
  void sample(Labels labels, const http::HandlerStats& stats) {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < stats.durations.size(); ++i) {
      total += stats.durations[i];
      const std::string bound = i < http::HandlerStats::kBounds.size()
                                    ? fmt::format("{}", seconds(http::HandlerStats::kBounds[i]))
                                    : "+Inf";
      text_ += fmt::format("{}_bucket{} {}\n", name_,
                           label_text(labels, fmt::format("le=\"{}\"", bound)), total);
    }
    text_ += fmt::format("{}_sum{} {}\n", name_, label_text(labels), seconds(stats.total));
    text_ += fmt::format("{}_count{} {}\n", name_, label_text(labels), total);
  }

  std::string take() { return std::move(text_); }

 private:
  void family(std::string_view name, std::string_view help, std::string_view type) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }

  std::string text_;
  std::string name_;
};

void write_process(Writer& out, const Metrics& metrics) {
  const ProcessFigures& process = metrics.process;
  out.gauge("vigil_build_info", "The version of vigil in this program; always 1.");
  out.sample({{"version", metrics.version}}, 1);
  out.counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
  out.sample({}, process.cpu_seconds);
  out.gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
  out.sample({}, process.resident_bytes);
  out.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.");
  out.sample({}, process.virtual_bytes);
  out.gauge("process_open_fds", "Number of open file descriptors.");
  out.sample({}, process.open_fds);
  out.gauge("process_max_fds", "Maximum number of open file descriptors.");
  out.sample({}, process.max_fds);
  out.gauge("process_threads", "Number of OS threads in the process.");
  out.sample({}, process.threads);
  out.gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.");
  out.sample({}, fmt::format("{:.2f}", process.start_time_seconds));
}

void write_tasks(Writer& out, const Metrics& metrics) {
  out.gauge("vigil_tasks", "Tasks that run now: handler activations and other scoped work.");
  out.sample({}, metrics.tasks.live);
  out.counter("vigil_tasks_started_total", "Tasks begun.");
  out.sample({}, metrics.tasks.started);
  out.counter("vigil_tasks_untracked_total", "Tasks begun while the task table was full.");
  out.sample({}, metrics.tasks.untracked);

  const leakwatch::Watchdog::Counters& watchdog = metrics.watchdog;
  out.gauge("vigil_watchdog_threshold_seconds", "Tasks older than this are flagged; 0 is off.");
  out.sample({}, seconds(metrics.stuck_after));
  out.gauge("vigil_watchdog_stuck_tasks", "Tasks that are flagged and have not ended.");
  out.sample({}, watchdog.stuck_now);
  out.counter("vigil_watchdog_flagged_total", "Tasks flagged as stuck or leaked.");
  out.sample({}, watchdog.flagged);
  out.counter("vigil_watchdog_leaked_total", "Flagged tasks that went on past their own timeout.");
  out.sample({}, watchdog.leaked);
  out.counter("vigil_watchdog_stalled_total", "Flagged streaming tasks that made no progress.");
  out.sample({}, watchdog.stalled);
  out.counter("vigil_watchdog_recovered_total", "Flagged tasks that have ended, or stream on.");
  out.sample({}, watchdog.recovered);
  out.counter("vigil_watchdog_reports_dropped_total", "Reports dropped for lack of room.");
  out.sample({}, watchdog.reports_dropped);
}

void write_timeout_pools(Writer& out, const std::vector<TimeoutPoolMetrics>& pools) {
  if (pools.empty()) return;
  const auto each = [&](auto value) {
    for (const TimeoutPoolMetrics& pool : pools)
      out.sample({{"pool", pool.name}}, value(pool.stats));
  };
  using Stats = http::TimeoutPool::Stats;
  out.counter("vigil_handler_timeout_calls_total", "Handlers begun under a handler timeout.");
  each([](const Stats& stats) { return stats.calls; });
  out.counter("vigil_handler_timeouts_total", "Handlers answered for with 503 at their timeout.");
  each([](const Stats& stats) { return stats.timed_out; });
  out.counter("vigil_handler_timeout_refused_total", "Requests refused for lack of a thread.");
  each([](const Stats& stats) { return stats.refused; });
  out.gauge("vigil_handler_timeout_running", "Handlers under a timeout that run now.");
  each([](const Stats& stats) { return stats.running; });
  out.gauge("vigil_handler_timeout_leaked", "Handlers that run now although they have timed out.");
  each([](const Stats& stats) { return stats.leaked; });
}

void write_profiles(Writer& out, const Metrics& metrics) {
  out.gauge("vigil_captures_running", "Captures that take their seconds now.");
  out.sample({}, metrics.captures_running);
  out.counter("vigil_captures_refused_total", "Captures refused because too many were running.");
  out.sample({}, metrics.captures_refused);
  out.counter("vigil_labels_dropped_total", "Labels of the program that did not fit its samples.");
  out.sample({}, metrics.labels_dropped);
  if (metrics.profiles.empty()) return;
  out.counter("vigil_profiles_total", "Profiles taken.");
  for (const auto& [name, total] : metrics.profiles) {
    out.sample({{"profile", name}}, total.profiles);
  }
  out.counter("vigil_profile_samples_total", "Samples in the profiles taken.");
  for (const auto& [name, total] : metrics.profiles) {
    out.sample({{"profile", name}}, total.samples);
  }
  out.counter("vigil_profile_collector_cpu_seconds_total", "CPU time that collecting took.");
  for (const auto& [name, total] : metrics.profiles) {
    out.sample({{"profile", name}}, seconds(std::chrono::nanoseconds(total.collector_cpu_ns)));
  }
  out.counter("vigil_profile_losses_total",
              "What profiles lack: samples lost, stacks truncated, threads without an answer.");
  for (const auto& [name, total] : metrics.profiles) {
    for (const auto& [what, count] : total.losses) {
      out.sample({{"profile", name}, {"what", what}}, count);
    }
  }
}

class ServerWriter {
 public:
  ServerWriter(Writer& out, const std::vector<ServerMetrics>& servers)
      : out_(out), servers_(servers) {}

  void write() {
    write_connections();
    write_requests();
    write_routes();
    write_queue();
    write_losses();
    write_websockets();
    write_engine();
  }

 private:
  using Stats = http::ServerStats;

  // One sample for each server.
  void each(std::uint64_t Stats::*member) {
    for (const ServerMetrics& server : servers_) {
      out_.sample({{"server", server.name}}, server.stats.*member);
    }
  }
  // One sample for each server and each entry of a list: {label value, number}.
  void each(
      std::string_view label,
      const std::function<std::vector<std::pair<std::string_view, std::uint64_t>>(const Stats&)>&
          list) {
    for (const ServerMetrics& server : servers_) {
      for (const auto& [value, number] : list(server.stats)) {
        out_.sample({{"server", server.name}, {label, value}}, number);
      }
    }
  }

  void write_connections() {
    out_.gauge("vigil_http_connections", "Open connections by state.");
    using List = std::vector<std::pair<std::string_view, std::uint64_t>>;
    each("state", [](const Stats& stats) -> List {
      const Stats::ConnectionsNow& now = stats.connections;
      return {{"new", now.fresh},
              {"reading_head", now.reading_head},
              {"reading_body", now.reading_body},
              {"handling", now.handling},
              {"queued", now.queued},
              {"flushing", now.flushing},
              {"idle", now.idle},
              {"lingering", now.lingering}};
    });
    out_.counter("vigil_http_connections_accepted_total", "Connections accepted.");
    each(&Stats::accepted);
    out_.counter("vigil_http_accept_errors_total", "Calls of accept that failed.");
    each(&Stats::accept_errors);
  }

  void write_requests() {
    out_.gauge("vigil_http_requests_in_flight", "Requests that are being handled now.");
    for (const ServerMetrics& server : servers_) {
      out_.sample({{"server", server.name}}, server.stats.connections.handling);
    }
    out_.counter("vigil_http_responses_total",
                 "Responses by status class, those of the engine itself included.");
    for (const ServerMetrics& server : servers_) {
      for (std::size_t i = 1; i < server.stats.status_classes.size(); ++i) {
        out_.sample({{"server", server.name}, {"code", fmt::format("{}xx", i)}},
                    server.stats.status_classes[i]);
      }
    }
    out_.counter("vigil_http_bad_requests_total", "Malformed requests refused by the engine.");
    each(&Stats::bad_requests);
    out_.counter("vigil_http_handler_exceptions_total",
                 "Exceptions that reached the engine from a handler.");
    each(&Stats::handler_exceptions);
    out_.counter("vigil_http_received_bytes_total", "Bytes received on all connections.");
    each(&Stats::bytes_received);
    out_.counter("vigil_http_sent_bytes_total", "Bytes sent on all connections.");
    each(&Stats::bytes_sent);
  }

  void write_websockets() {
    using List = std::vector<std::pair<std::string_view, std::uint64_t>>;
    out_.gauge("vigil_websockets", "WebSockets that are open.");
    for (const ServerMetrics& server : servers_) {
      out_.sample({{"server", server.name}}, server.stats.websockets.open);
    }
    out_.counter("vigil_websocket_messages_total", "Whole messages, by direction.");
    each("direction", [](const Stats& stats) -> List {
      return {{"in", stats.websockets.messages_in}, {"out", stats.websockets.messages_out}};
    });
    out_.counter("vigil_websocket_closed_total",
                 "WebSockets that have ended, by the class of the first close code; lost: none.");
    each("class", [](const Stats& stats) {
      List closed;
      for (std::size_t i = 0; i < http::kCloseClasses; ++i) {
        closed.emplace_back(http::close_class_name(http::CloseClass(i)),
                            stats.websockets.closed[i]);
      }
      return closed;
    });
  }

  void each_route(const std::function<void(std::string_view server, std::string_view route,
                                           const http::HandlerStats&)>& visit) {
    for (const ServerMetrics& server : servers_) {
      for (const http::RouteStats& route : server.routes) {
        visit(server.name, route.pattern, route.handler);
      }
      visit(server.name, "", server.stats.unrouted);
    }
  }

  void write_routes() {
    out_.counter("vigil_http_requests_total", "Requests answered, by route and status class.");
    each_route(
        [&](std::string_view server, std::string_view route, const http::HandlerStats& stats) {
          for (std::size_t i = 1; i < stats.status_classes.size(); ++i) {
            // Handlers do not answer 1xx; a class that never was is left out, as clients of this
            // format do with labels that they have not seen.
            if (stats.status_classes[i] == 0) continue;
            out_.sample({{"server", server}, {"route", route}, {"code", fmt::format("{}xx", i)}},
                        stats.status_classes[i]);
          }
        });
    out_.histogram("vigil_http_request_duration_seconds",
                   "Time from a handler's begin to its return, by route.");
    each_route(
        [&](std::string_view server, std::string_view route, const http::HandlerStats& stats) {
          out_.sample({{"server", server}, {"route", route}}, stats);
        });
  }

  void write_queue() {
    const auto each_queue = [&](auto value) {
      for (const ServerMetrics& server : servers_) {
        out_.sample({{"server", server.name}}, value(server.stats.queue));
      }
    };
    using Queue = Stats::Queue;
    out_.counter("vigil_http_queue_entered_total", "Requests that waited for a slot.");
    each_queue([](const Queue& queue) { return queue.entered; });
    out_.counter("vigil_http_queue_timed_out_total",
                 "Requests whose wait for a slot was too long.");
    each_queue([](const Queue& queue) { return queue.timed_out; });
    out_.counter("vigil_http_queue_abandoned_total",
                 "Requests whose client went away while they waited for a slot.");
    each_queue([](const Queue& queue) { return queue.abandoned; });
    out_.counter("vigil_http_queue_wait_seconds_total",
                 "Time that requests waited for a slot, of all that have left the queue.");
    each_queue([](const Queue& queue) { return seconds(queue.waited); });
  }

  void write_losses() {
    using List = std::vector<std::pair<std::string_view, std::uint64_t>>;
    out_.counter("vigil_http_timeouts_total", "Deadlines that passed, by phase.");
    each("phase", [](const Stats& stats) -> List {
      return {{"read_header", stats.timeouts.read_header},
              {"read", stats.timeouts.read},
              {"write", stats.timeouts.write},
              {"idle", stats.timeouts.idle}};
    });
    out_.counter("vigil_http_limit_hits_total", "Connections and requests refused, by limit.");
    each("limit", [](const Stats& stats) -> List {
      const Stats::LimitsHit& hits = stats.limits_hit;
      return {{"connections", hits.connections},    {"connections_per_ip", hits.connections_per_ip},
              {"in_flight", hits.in_flight},        {"threads", hits.threads},
              {"descriptors", hits.descriptors},    {"filters", hits.filters},
              {"accept_pauses", hits.accept_pauses}};
    });
    out_.counter("vigil_http_headers_refused_total",
                 "Response header fields dropped because they held CR, LF, NUL or a bad name.");
    each(&Stats::headers_refused);
    out_.counter("vigil_http_out_of_memory_total",
                 "Connections closed because the engine could not allocate.");
    each(&Stats::out_of_memory);
  }

  void write_engine() {
    using List = std::vector<std::pair<std::string_view, std::uint64_t>>;
    out_.counter("vigil_http_handler_runs_total",
                 "How handlers ran: on the polling thread, or after handing polling over.");
    each("mode", [](const Stats& stats) -> List {
      return {{"inline", stats.ran_inline}, {"handed_over", stats.ran_handed_over}};
    });
    out_.counter("vigil_http_handlers_rescued_total",
                 "Handlers on the polling thread that polling was taken away from.");
    each(&Stats::rescued);
    out_.gauge("vigil_http_threads", "Threads of the engine.");
    each(&Stats::threads_now);
  }

  Writer& out_;
  const std::vector<ServerMetrics>& servers_;
};

}  // namespace

std::string escaped_label(std::string_view value) {
  std::string escaped;
  for (const char c : valid_utf8(value)) {
    if (c == '\n') {
      escaped += "\\n";
    } else {
      if (c == '\\' || c == '"') escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

std::string prometheus_text(const Metrics& metrics) {
  Writer out;
  write_process(out, metrics);
  write_tasks(out, metrics);
  write_timeout_pools(out, metrics.timeout_pools);
  write_profiles(out, metrics);
  if (!metrics.servers.empty()) ServerWriter(out, metrics.servers).write();
  return out.take();
}

}  // namespace vigil::endpoints
