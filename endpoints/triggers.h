// Triggers: when a profile is worth taking, judged from figures that are counted anyway.
//
//   Triggers triggers({.queue_wait = 250ms, .cooldown = 5min});
//   for (const Triggered& each : triggers.step(figures)) … each.reason …
//
// Figures are judged over the time between two steps: a mean wait of all that left the queue in it, a
// 99th percentile of the requests that ended in it. Each trigger is quiet for its cooldown after it
// has fired.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server-core/handler_metrics.h"

namespace vigil::endpoints {

// Zero switches a trigger off.
struct TriggerOptions {
  Duration queue_wait{0};  // mean wait for a slot above this
  Duration p99{0};         // 99th percentile of handlers above this
  std::uint64_t resident_bytes_per_minute =
      0;                            // growth of the resident memory above this, over a minute
  std::uint64_t stuck_reports = 0;  // so many new reports of stuck handlers
  Duration cooldown = std::chrono::minutes(5);
};

// Totals since the start, of all servers together.
struct TriggerFigures {
  MonotonicTime now{};
  std::uint64_t queue_left = 0;  // requests that were in the queue
  Duration queue_waited{0};
  http::HandlerStats handlers;
  std::uint64_t resident_bytes = 0;
  std::uint64_t stuck_reports = 0;
};

struct Triggered {
  std::string reason;  // "queue wait 310ms on average, limit 250ms"
};

// Not thread-safe. Pure but for its state.
class Triggers {
 public:
  // The fewest requests between two steps from which a percentile is read.
  static constexpr std::uint64_t kRequestsMin = 100;

  explicit Triggers(TriggerOptions options) : options_(options) {}

  // What has fired by now; the first step only looks.
  std::vector<Triggered> step(const TriggerFigures& figures);

 private:
  enum Kind : std::uint8_t { kQueueWait, kP99, kMemory, kStuck, kKinds };

  std::optional<std::string> look(Kind kind, const TriggerFigures& figures) const;
  std::optional<std::string> look_at_queue(const TriggerFigures& figures) const;
  std::optional<std::string> look_at_p99(const TriggerFigures& figures) const;
  std::optional<std::string> look_at_memory(const TriggerFigures& figures) const;
  std::optional<std::string> look_at_stuck(const TriggerFigures& figures) const;

  const TriggerOptions options_;
  std::optional<TriggerFigures> before_;
  MonotonicTime memory_since_{};     // when the minute of the memory began
  std::uint64_t memory_before_ = 0;  // resident then
  std::array<MonotonicTime, kKinds> quiet_until_{};
};

}  // namespace vigil::endpoints
