#include "endpoints/triggers.h"

#include <fmt/core.h>

#include "base/text.h"
#include "endpoints/overview.h"

namespace vigil::endpoints {
namespace {

constexpr Duration kMemoryTime = std::chrono::minutes(1);
constexpr double kMiB = 1024 * 1024;

// What ended between the two.
http::HandlerStats difference(const http::HandlerStats& now, const http::HandlerStats& before) {
  http::HandlerStats stats;
  for (std::size_t i = 0; i < stats.durations.size(); ++i) {
    stats.durations[i] = now.durations[i] - before.durations[i];
  }
  for (std::size_t i = 0; i < stats.status_classes.size(); ++i) {
    stats.status_classes[i] = now.status_classes[i] - before.status_classes[i];
  }
  return stats;
}

}  // namespace

std::optional<std::string> Triggers::look_at_queue(const TriggerFigures& figures) const {
  const std::uint64_t left = figures.queue_left - before_->queue_left;
  if (options_.queue_wait == Duration(0) || left == 0) return std::nullopt;
  const Duration mean =
      (figures.queue_waited - before_->queue_waited) / static_cast<std::int64_t>(left);
  if (mean <= options_.queue_wait) return std::nullopt;
  return fmt::format("queue wait {} on average, limit {}", format_duration(mean),
                     format_duration(options_.queue_wait));
}

std::optional<std::string> Triggers::look_at_p99(const TriggerFigures& figures) const {
  if (options_.p99 == Duration(0)) return std::nullopt;
  const http::HandlerStats ended = difference(figures.handlers, before_->handlers);
  if (ended.requests() < kRequestsMin) return std::nullopt;
  const Duration p99 = quantile_bound(ended, 0.99);
  if (p99 <= options_.p99) return std::nullopt;
  const bool beyond = p99 == Duration::max();
  return fmt::format("99th percentile {} {}, limit {}", beyond ? "above" : "up to",
                     format_duration(beyond ? http::HandlerStats::kBounds.back() : p99),
                     format_duration(options_.p99));
}

std::optional<std::string> Triggers::look_at_memory(const TriggerFigures& figures) const {
  if (options_.resident_bytes_per_minute == 0 || figures.now - memory_since_ < kMemoryTime ||
      figures.resident_bytes <= memory_before_) {
    return std::nullopt;
  }
  const double minutes = fractional_seconds(figures.now - memory_since_) / 60;
  const double slope = static_cast<double>(figures.resident_bytes - memory_before_) / minutes;
  if (slope <= static_cast<double>(options_.resident_bytes_per_minute)) return std::nullopt;
  return fmt::format("resident memory grows by {:.1f} MiB a minute, limit {:.1f}", slope / kMiB,
                     static_cast<double>(options_.resident_bytes_per_minute) / kMiB);
}

std::optional<std::string> Triggers::look_at_stuck(const TriggerFigures& figures) const {
  const std::uint64_t reports = figures.stuck_reports - before_->stuck_reports;
  if (options_.stuck_reports == 0 || reports < options_.stuck_reports) return std::nullopt;
  return fmt::format("{} handlers newly reported as stuck", reports);
}

std::optional<std::string> Triggers::look(Kind kind, const TriggerFigures& figures) const {
  switch (kind) {
    case kQueueWait:
      return look_at_queue(figures);
    case kP99:
      return look_at_p99(figures);
    case kMemory:
      return look_at_memory(figures);
    case kStuck:
      return look_at_stuck(figures);
    case kKinds:
      break;
  }
  return std::nullopt;
}

std::vector<Triggered> Triggers::step(const TriggerFigures& figures) {
  std::vector<Triggered> fired;
  for (std::uint8_t i = 0; before_ && i < kKinds; ++i) {
    if (figures.now < quiet_until_[i]) continue;
    if (auto reason = look(static_cast<Kind>(i), figures)) {
      fired.push_back({*std::move(reason)});
      quiet_until_[i] = figures.now + options_.cooldown;
    }
  }
  if (!before_ || figures.now - memory_since_ >= kMemoryTime) {
    memory_since_ = figures.now;
    memory_before_ = figures.resident_bytes;
  }
  before_ = figures;
  return fired;
}

}  // namespace vigil::endpoints
