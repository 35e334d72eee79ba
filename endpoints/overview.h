// /debug/: one page that says how the process is, and where to look next.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "endpoints/metrics.h"
#include "endpoints/page.h"
#include "endpoints/services.h"
#include "leakwatch/stuck_report.h"

namespace vigil::endpoints {

// One line of the table of routes: what is counted of it, and what runs of it now.
struct RouteOverview {
  std::string server;
  std::string pattern;  // "" is what no route answered
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;  // 5xx
  std::uint64_t running = 0;
  Duration oldest{0};  // of those that run
  Duration p50{0};     // upper bounds of the classes that hold the quantile, since the start
  Duration p99{0};
};

struct Overview {
  std::string program;   // its command line, redacted
  std::string build_id;  // of the executable
  Duration uptime{0};
  Metrics metrics;
  std::vector<RouteOverview> routes;  // those with something running first, then by requests
  std::vector<leakwatch::StuckReport> stuck;  // that are stuck now
  MonotonicTime now{};
};

Overview overview_of(const Services& services);

// The bound of the class that the `quantile` (0 to 1) of `stats` falls into; zero without requests,
// Duration::max() beyond the last bound. Pure.
Duration quantile_bound(const http::HandlerStats& stats, double quantile);

// The page: one file, nothing loaded but itself again, every two seconds, for live numbers and rates;
// without JavaScript it is as of its loading. Pure.
std::string overview_html(const Overview& overview);

// GET /debug/
Page overview_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
