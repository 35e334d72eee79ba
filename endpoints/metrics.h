// /metrics and /debug/vars: everything that vigil counts, as Prometheus text and as JSON.
//
// Both are made from one struct: metrics_of() reads, prometheus_text() and vars_json() are pure.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "endpoints/page.h"
#include "endpoints/profile_totals.h"
#include "endpoints/services.h"
#include "leakwatch/task_registry.h"
#include "leakwatch/watchdog.h"
#include "sampler/contention_profiler.h"
#include "sampler/heap_collector.h"
#include "server-core/router.h"
#include "server-core/server_stats.h"

namespace vigil::endpoints {

// What the kernel says of this process. A field that could not be read is zero.
struct ProcessFigures {
  double cpu_seconds = 0;  // user and system
  std::uint64_t resident_bytes = 0;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t open_fds = 0;
  std::uint64_t max_fds = 0;
  std::uint64_t threads = 0;
  double start_time_seconds = 0;  // since 1970
};

// Reads /proc/self. Cost: five files and a directory, some 100 us.
ProcessFigures process_figures();

// The numbers of one server, under the name that it was registered with.
struct ServerMetrics {
  std::string name;
  http::ServerStats stats;
  std::vector<http::RouteStats> routes;
};

// How old the tasks are that live now. A histogram whose counts go down again: its quantiles are
// of this moment, and rates of it mean nothing. How long handlers took is in their routes' own.
struct TaskAges {
  static constexpr std::array<Duration, 8> kBounds = {
      std::chrono::milliseconds(10), std::chrono::milliseconds(100), std::chrono::seconds(1),
      std::chrono::seconds(5),       std::chrono::seconds(10),       std::chrono::seconds(60),
      std::chrono::minutes(10),      std::chrono::hours(1)};
  std::array<std::uint64_t, kBounds.size() + 1> counts{};  // up to each bound; the last: older
  Duration total{0};

  void add(Duration age);
  // `bound` is one of kBounds.
  std::uint64_t older_than(Duration bound) const;
};

struct Metrics {
  std::string version;
  ProcessFigures process;
  leakwatch::TaskRegistry::Counters tasks;
  TaskAges task_ages;
  leakwatch::Watchdog::Counters watchdog;
  Duration stuck_after{0};
  std::vector<ServerMetrics> servers;
  std::vector<TimeoutPoolMetrics> timeout_pools;
  std::map<std::string, ProfileTotals::Total> profiles;  // by name
  int captures_running = 0;
  std::uint64_t captures_refused = 0;
  std::uint64_t labels_dropped = 0;
  // Of what a program may have: a sampler in its allocator, interposed lock functions.
  std::optional<sampler::HeapLoss> heap_loss;
  std::optional<sampler::ContentionCounters> contention;
};

Metrics metrics_of(const Services& services);

// The text exposition format 0.0.4: each family once, with HELP and TYPE, all its samples together.
// https://prometheus.io/docs/instrumenting/exposition_formats/
// Names: vigil_* are ours, process_* those of the Prometheus client libraries. A server is the
// label `server`, a route `route` (its pattern; "" is what no route answered), a status class
// `code`
// ("2xx").
std::string prometheus_text(const Metrics& metrics);

// The same as one JSON object, with the command line as in Go's expvar ("cmdline").
std::string vars_json(const Metrics& metrics, const std::vector<std::string>& command_line);

// A label's value with \ " and line ends escaped. Pure.
std::string escaped_label(std::string_view value);

// GET /metrics
Page metrics_page(const PageRequest& request, const Services& services);

// GET /debug/vars
Page vars_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
