// InFlightLimit: at most so many requests at once inside a set of routes, whatever the server's own
// limit is.
//
//   auto reports = std::make_shared<InFlightLimit>(InFlightLimit::Options{.max = 4});
//   router.handle("GET /reports/{id}", limit_in_flight(reports)(get_report));
//   router.handle("POST /reports", limit_in_flight(reports)(make_report));
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "server-core/middleware.h"

namespace vigil::http {

// Thread-safe; no lock.
class InFlightLimit {
 public:
  struct Options {
    std::size_t max = 1;  // 0 refuses everything
    // What a refused client is told to wait, in whole seconds.
    std::chrono::seconds retry_after = std::chrono::seconds(1);
  };

  explicit InFlightLimit(Options options) : options_(options) {}

  // true must be followed by leave() once.
  bool enter();
  void leave() { now_.fetch_sub(1, std::memory_order_relaxed); }

  const Options& options() const { return options_; }
  std::size_t now() const { return now_.load(std::memory_order_relaxed); }
  // Requests refused since the start.
  std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  const Options options_;
  std::atomic<std::size_t> now_{0};
  std::atomic<std::uint64_t> refused_{0};
};

// The request too many gets 503 with Retry-After at once, and its handler does not run. All
// handlers that are made with one `limit` share it.
Middleware limit_in_flight(std::shared_ptr<InFlightLimit> limit);

}  // namespace vigil::http
