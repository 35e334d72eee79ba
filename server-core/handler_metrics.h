// HandlerMetrics: what is counted of the requests of one route: how they were answered, and how
// long the handler took.
//
//   profile.metrics.record(response.status_code(), took);       // the engine, after each handler
//   HandlerStats stats = profile.metrics.read();                // a page, any time
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace vigil::http {

// A snapshot; counters since the start.
struct HandlerStats {
  // Upper bounds of the duration classes, inclusive. From what a cache answers to what a person
  // gives up on; the decades from 5 ms on are those that Prometheus clients use.
  static constexpr std::array<Duration, 15> kBounds = {
      std::chrono::microseconds(100),  std::chrono::microseconds(500),
      std::chrono::milliseconds(1),    std::chrono::microseconds(2500),
      std::chrono::milliseconds(5),    std::chrono::milliseconds(10),
      std::chrono::milliseconds(25),   std::chrono::milliseconds(50),
      std::chrono::milliseconds(100),  std::chrono::milliseconds(250),
      std::chrono::milliseconds(500),  std::chrono::seconds(1),
      std::chrono::milliseconds(2500), std::chrono::seconds(5),
      std::chrono::seconds(10)};

  std::array<std::uint64_t, 6> status_classes{};  // [2] counts 2xx, …; [0] what is no class
  // [i] counts those of at most kBounds[i] that the classes before do not hold; the last, longer
  // ones.
  std::array<std::uint64_t, kBounds.size() + 1> durations{};
  Duration total{0};  // of all durations

  std::uint64_t requests() const;
};

// Thread-safe. record() costs three relaxed additions (about 15 ns), takes no lock, does not
// allocate and reads no clock. Counters are kept in kShards sets, each on cache lines of its own; a
// thread adds to the set that its number gives, so that two threads which serve one route do not
// pass a cache line to and fro. 1.5 KiB a route.
class HandlerMetrics {
 public:
  // `status`: the response's. `took`: from the handler's begin to its return.
  void record(int status, Duration took);

  HandlerStats read() const;

 private:
  static constexpr std::size_t kShards = 8;

  struct alignas(64) Shard {
    std::array<std::atomic<std::uint64_t>, 6> status_classes{};
    std::array<std::atomic<std::uint64_t>, HandlerStats::kBounds.size() + 1> durations{};
    std::atomic<std::int64_t> total_ns{0};
  };

  std::array<Shard, kShards> shards_;
};

}  // namespace vigil::http
