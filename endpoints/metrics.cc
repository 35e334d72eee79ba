#include "endpoints/metrics.h"

#include <algorithm>
#include <numeric>

#include "base/version.h"
#include "sampler/labels.h"

namespace vigil::endpoints {

namespace {

TaskAges ages_of(const Services& services) {
  TaskAges ages;
  const auto live = services.tasks.snapshot();
  const MonotonicTime now = services.clock.now();
  for (const leakwatch::TaskInfo& task : live) ages.add(task.age(now));
  return ages;
}

}  // namespace

void TaskAges::add(Duration age) {
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), age);
  ++counts[static_cast<std::size_t>(bound - kBounds.begin())];
  total += age;
}

std::uint64_t TaskAges::older_than(Duration bound) const {
  const auto first = std::upper_bound(kBounds.begin(), kBounds.end(), bound) - kBounds.begin();
  return std::accumulate(counts.begin() + first, counts.end(), std::uint64_t{0});
}

Metrics metrics_of(const Services& services) {
  Metrics metrics;
  metrics.version = kVersionText;
  metrics.process = process_figures();
  metrics.tasks = services.tasks.counters();
  metrics.task_ages = ages_of(services);
  metrics.watchdog = services.watchdog.counters();
  metrics.stuck_after = services.watchdog.threshold();
  metrics.profiles = services.totals.read();
  metrics.captures_running = services.captures.running();
  metrics.captures_refused = services.captures.refused();
  metrics.labels_dropped = sampler::labels_dropped();
  if (services.heap != nullptr) metrics.heap_loss = services.heap->loss();
  if (services.contention != nullptr) metrics.contention = services.contention->counters();
  if (services.sources == nullptr) return metrics;
  for (const ServerSource& source : services.sources->servers()) {
    metrics.servers.push_back({source.name, source.stats(),
                               source.routes ? source.routes() : std::vector<http::RouteStats>()});
  }
  for (const TimeoutPoolSource& source : services.sources->timeout_pools()) {
    metrics.timeout_pools.push_back({source.name, source.stats()});
  }
  return metrics;
}

Page metrics_page(const PageRequest&, const Services& services) {
  Page page = text_page(prometheus_text(metrics_of(services)));
  // Prometheus 3 refuses a scrape whose type it does not know.
  page.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return page;
}

Page vars_page(const PageRequest&, const Services& services) {
  Page page = text_page(vars_json(metrics_of(services), services.command_line));
  page.content_type = "application/json; charset=utf-8";
  return page;
}

}  // namespace vigil::endpoints
