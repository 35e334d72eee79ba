#include "server-core/handler_metrics.h"

#include <numeric>

namespace vigil::http {
namespace {

// Consecutive threads get consecutive numbers.
std::size_t thread_number() {
  static constinit std::atomic<std::size_t> next{0};
  constinit thread_local static std::size_t mine = 0;
  if (mine == 0) mine = next.fetch_add(1, std::memory_order_relaxed) + 1;
  return mine;
}

// Linear: what a server answers most falls into the first classes.
std::size_t duration_class(Duration took) {
  std::size_t index = 0;
  while (index < HandlerStats::kBounds.size() && took > HandlerStats::kBounds[index]) ++index;
  return index;
}

std::size_t status_class(int status) {
  return status >= 100 && status < 600 ? static_cast<std::size_t>(status / 100) : 0;
}

}  // namespace

std::uint64_t HandlerStats::requests() const {
  return std::accumulate(status_classes.begin(), status_classes.end(), std::uint64_t{0});
}

void HandlerMetrics::record(int status, Duration took) {
  Shard& shard = shards_[thread_number() % kShards];
  shard.status_classes[status_class(status)].fetch_add(1, std::memory_order_relaxed);
  shard.durations[duration_class(took)].fetch_add(1, std::memory_order_relaxed);
  shard.total_ns.fetch_add(took.count(), std::memory_order_relaxed);
}

HandlerStats HandlerMetrics::read() const {
  HandlerStats stats;
  for (const Shard& shard : shards_) {
    for (std::size_t i = 0; i < stats.status_classes.size(); ++i) {
      stats.status_classes[i] += shard.status_classes[i].load(std::memory_order_relaxed);
    }
    for (std::size_t i = 0; i < stats.durations.size(); ++i) {
      stats.durations[i] += shard.durations[i].load(std::memory_order_relaxed);
    }
    stats.total += Duration(shard.total_ns.load(std::memory_order_relaxed));
  }
  return stats;
}

}  // namespace vigil::http
