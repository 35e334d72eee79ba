// What vigil counts, once: each number with its place in /debug/vars and its family in /metrics.
// metrics_json.cc and metrics_prometheus.cc are two ways to write these tables.
//
// A number that is added to one of the structs gets a row here; tests/endpoints/metrics_test.cc
// has one that fails for a member of ServerStats without a row.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include "endpoints/metrics.h"

namespace vigil::endpoints {

enum class MetricType : std::uint8_t {
  kCounter,  // only grows
  kGauge,
};

// A family of the Prometheus text. Rows of one family stand together in their table.
struct MetricFamily {
  std::string_view name;
  MetricType type;
  std::string_view help;
  std::string_view label = {};  // what tells its rows apart; empty: it has one row
};

using MetricNumber = std::variant<std::uint64_t, double>;

// One number of a `Source`.
template <typename Source>
struct MetricField {
  std::string_view json_path;  // a JSON pointer into the source's object: "/timeouts/read"; empty:
                               // not in the JSON
  const MetricFamily* family;  // nullptr: not in the Prometheus text
  std::string_view label_value;
  MetricNumber (*read)(const Source&);
};

// The process, the task registry and the watchdog.
std::span<const MetricField<Metrics>> process_fields();
// What the heap and contention collectors have counted since the start.
std::span<const MetricField<sampler::HeapLoss>> heap_fields();
std::span<const MetricField<sampler::ContentionCounters>> contention_fields();
// A server, without its routes.
std::span<const MetricField<http::ServerStats>> server_fields();
std::span<const MetricField<http::TimeoutPool::Stats>> timeout_pool_fields();

}  // namespace vigil::endpoints
