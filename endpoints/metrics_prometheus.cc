// Metrics as Prometheus text.
#include <functional>
#include <span>
#include <utility>

#include <fmt/core.h>

#include "base/text.h"
#include "endpoints/metric_fields.h"
#include "endpoints/metrics.h"

namespace vigil::endpoints {
namespace {

struct Label {
  std::string_view name;
  std::string_view value;
};
using Labels = std::vector<Label>;

std::string label_text(const Labels& labels, std::string_view more = {}) {
  std::string text;
  for (const Label& label : labels) {
    if (!text.empty()) text += ',';
    text += fmt::format("{}=\"{}\"", label.name, escaped_label(label.value));
  }
  if (!more.empty() && !text.empty()) text += ',';
  text += more;
  return text.empty() ? text : "{" + text + "}";
}

// Writes families one after the other, each with its HELP and TYPE.
class Writer {
 public:
  void begin(const MetricFamily& next) {
    family(next.name, next.help, next.type == MetricType::kCounter ? "counter" : "gauge");
  }
  void histogram(std::string_view name, std::string_view help) { family(name, help, "histogram"); }

  // A sample of the family that was begun last.
  template <typename Number>
  void sample(const Labels& labels, Number value) {
    text_ += fmt::format("{}{} {}\n", name_, label_text(labels), value);
  }

  // All samples of one histogram; buckets are cumulative in this format. The last of `counts` has
  // no bound.
  void sample(const Labels& labels, std::span<const Duration> bounds,
              std::span<const std::uint64_t> counts, Duration sum) {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      total += counts[i];
      const std::string bound =
          i < bounds.size() ? fmt::format("{}", fractional_seconds(bounds[i])) : "+Inf";
      text_ += fmt::format("{}_bucket{} {}\n", name_,
                           label_text(labels, fmt::format("le=\"{}\"", bound)), total);
    }
    text_ += fmt::format("{}_sum{} {}\n", name_, label_text(labels), fractional_seconds(sum));
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

// A source of numbers, and the label that tells it from others of its kind.
template <typename Source>
struct Labelled {
  Label label;
  const Source* source;
};

// One field of one source.
template <typename Source>
void write_field(Writer& out, const MetricField<Source>& field, const Labelled<Source>& labelled) {
  std::vector<Label> labels;
  if (!labelled.label.name.empty()) labels.push_back(labelled.label);
  if (!field.family->label.empty()) labels.push_back({field.family->label, field.label_value});
  std::visit([&](auto number) { out.sample(labels, number); }, field.read(*labelled.source));
}

// All families of a table, each with the samples of every source.
template <typename Source>
void write_fields(Writer& out, std::span<const MetricField<Source>> fields,
                  const std::vector<Labelled<Source>>& sources) {
  while (!fields.empty()) {
    const MetricFamily* family = fields.front().family;
    std::size_t rows = 0;
    while (rows < fields.size() && fields[rows].family == family) ++rows;
    if (family != nullptr) {
      out.begin(*family);
      for (const Labelled<Source>& source : sources) {
        for (const MetricField<Source>& field : fields.first(rows)) write_field(out, field, source);
      }
    }
    fields = fields.subspan(rows);
  }
}

void write_process(Writer& out, const Metrics& metrics) {
  out.begin(
      {"vigil_build_info", MetricType::kGauge, "The version of vigil in this program; always 1."});
  out.sample({{"version", metrics.version}}, 1);
  write_fields(out, process_fields(), {{Label{}, &metrics}});
  out.histogram("vigil_task_age_seconds",
                "How old the tasks are that run now; counts go down again.");
  out.sample({}, TaskAges::kBounds, metrics.task_ages.counts, metrics.task_ages.total);
}

void write_collectors(Writer& out, const Metrics& metrics) {
  if (metrics.heap_loss) write_fields(out, heap_fields(), {{Label{}, &*metrics.heap_loss}});
  if (metrics.contention) write_fields(out, contention_fields(), {{Label{}, &*metrics.contention}});
}

void write_profiles(Writer& out, const Metrics& metrics) {
  if (metrics.profiles.empty()) return;
  out.begin({"vigil_profiles_total", MetricType::kCounter, "Profiles taken."});
  for (const auto& [name, total] : metrics.profiles) {
    out.sample({{"profile", name}}, total.profiles);
  }
  const auto each = [&](const MetricFamily& family, auto read) {
    out.begin(family);
    for (const auto& [name, total] : metrics.profiles) {
      if (total.span == sampler::CounterSpan::kSinceStart) continue;
      out.sample({{"profile", name}}, read(total));
    }
  };
  each({"vigil_profile_samples_total", MetricType::kCounter, "Samples in the profiles taken."},
       [](const auto& total) { return total.samples; });
  each({"vigil_profile_collector_cpu_seconds_total", MetricType::kCounter,
        "CPU time that collecting took."},
       [](const auto& total) {
         return fractional_seconds(std::chrono::nanoseconds(total.collector_cpu_ns));
       });
  out.begin({"vigil_profile_losses_total", MetricType::kCounter,
             "What profiles lack: samples lost, stacks truncated, threads without an answer."});
  for (const auto& [name, total] : metrics.profiles) {
    for (const auto& [what, count] : total.losses) {
      out.sample({{"profile", name}, {"what", what}}, count);
    }
  }
}

void write_timeout_pools(Writer& out, const std::vector<TimeoutPoolMetrics>& pools) {
  std::vector<Labelled<http::TimeoutPool::Stats>> sources;
  for (const TimeoutPoolMetrics& pool : pools)
    sources.push_back({{"pool", pool.name}, &pool.stats});
  if (!sources.empty()) write_fields(out, timeout_pool_fields(), sources);
}

void write_servers(Writer& out, const std::vector<ServerMetrics>& servers) {
  std::vector<Labelled<http::ServerStats>> sources;
  for (const ServerMetrics& server : servers) {
    sources.push_back({{"server", server.name}, &server.stats});
  }
  write_fields(out, server_fields(), sources);
}

// Not in the table: a server without TLS has none, and 0 would look like an expired one.
void write_certificates(Writer& out, const std::vector<ServerMetrics>& servers) {
  out.begin({"vigil_tls_certificate_expiry_timestamp_seconds", MetricType::kGauge,
             "When the first of the certificates in use expires."});
  for (const ServerMetrics& server : servers) {
    const auto& expires = server.stats.tls.certificate_expires;
    if (!expires) continue;
    out.sample({{"server", server.name}}, fractional_seconds(expires->time_since_epoch()));
  }
}

// Visits every route of every server; "" is what no route answered.
void each_route(const std::vector<ServerMetrics>& servers,
                const std::function<void(std::string_view server, std::string_view route,
                                         const http::HandlerStats&)>& visit) {
  for (const ServerMetrics& server : servers) {
    for (const http::RouteStats& route : server.routes) {
      visit(server.name, route.pattern, route.handler);
    }
    visit(server.name, "", server.stats.unrouted);
  }
}

void write_routes(Writer& out, const std::vector<ServerMetrics>& servers) {
  out.begin({"vigil_http_requests_total", MetricType::kCounter,
             "Requests answered, by route and status class."});
  each_route(servers, [&](std::string_view server, std::string_view route,
                          const http::HandlerStats& stats) {
    for (std::size_t i = 1; i < stats.status_classes.size(); ++i) {
      // Handlers do not answer 1xx; a class that never was is left out, as clients of this format
      // do with labels that they have not seen.
      if (stats.status_classes[i] == 0) continue;
      const std::string code = fmt::format("{}xx", i);
      out.sample({{"server", server}, {"route", route}, {"code", code}}, stats.status_classes[i]);
    }
  });
  out.histogram("vigil_http_request_duration_seconds",
                "Time from a handler's begin to its return, by route.");
  each_route(servers,
             [&](std::string_view server, std::string_view route, const http::HandlerStats& stats) {
               out.sample({{"server", server}, {"route", route}}, http::HandlerStats::kBounds,
                          stats.durations, stats.total);
             });
}

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
  write_collectors(out, metrics);
  write_profiles(out, metrics);
  write_timeout_pools(out, metrics.timeout_pools);
  if (metrics.servers.empty()) return out.take();
  write_servers(out, metrics.servers);
  write_certificates(out, metrics.servers);
  write_routes(out, metrics.servers);
  return out.take();
}

}  // namespace vigil::endpoints
