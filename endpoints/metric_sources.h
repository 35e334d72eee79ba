// MetricSources: the servers and pools of a program whose numbers the metrics pages show.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "server-core/router.h"
#include "server-core/server.h"
#include "server-core/server_stats.h"
#include "server-core/timeout_pool.h"

namespace vigil::endpoints {

struct ServerSource {
  std::string name;  // the label `server`: "main", "admin"; different for each
  std::function<http::ServerStats()> stats;
  std::function<std::vector<http::RouteStats>()> routes = {};  // empty: no router
  // For /readyz and /debug/conns.
  std::function<http::ServerPhase()> phase = {};
  std::function<http::ConnectionListing(std::size_t limit, MonotonicTime deadline)> connections =
      {};
};

struct TimeoutPoolSource {
  std::string name;  // the label `pool`
  std::function<http::TimeoutPool::Stats()> stats;
};

// The numbers of one pool.
struct TimeoutPoolMetrics {
  std::string name;
  http::TimeoutPool::Stats stats;
};

// Thread-safe. What a source reads must live as long as the pages are served.
class MetricSources {
 public:
  void add(ServerSource source) {
    std::lock_guard lock(mutex_);
    servers_.push_back(std::move(source));
  }
  void add(TimeoutPoolSource source) {
    std::lock_guard lock(mutex_);
    pools_.push_back(std::move(source));
  }
  std::vector<ServerSource> servers() const {
    std::lock_guard lock(mutex_);
    return servers_;
  }
  std::vector<TimeoutPoolSource> timeout_pools() const {
    std::lock_guard lock(mutex_);
    return pools_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<ServerSource> servers_;     // guarded by mutex_
  std::vector<TimeoutPoolSource> pools_;  // guarded by mutex_
};

}  // namespace vigil::endpoints
