#include "server-core/balancer.h"

#include <time.h>

#include <algorithm>
#include <bit>
#include <new>

#include "server-core/engine.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

Duration process_cpu_time() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + Duration(used.tv_nsec);
}

}  // namespace

void Balancer::prepare() {
  const std::size_t pollers = engine_.pollers.size();
  if (pollers < 2) return;
  totals_.resize(pollers);
  figures_.resize(pollers);
  balance_.emplace(pollers);
}

void Balancer::begin(MonotonicTime now) {
  if (!balance_) return;
  measure(now);
  at_rest_ = false;
}

void Balancer::step(MonotonicTime now) {
  if (now < next_) return;
  measure(now);
  try {
    decide(now);
  } catch (const std::bad_alloc&) {
    // P3.9: this window goes by without a decision.
  }
}

// What the pollers have done since the last call, into figures_.
void Balancer::measure(MonotonicTime now) {
  const double window = fractional_seconds(now - began_);
  for (std::size_t i = 0; i < totals_.size(); ++i) {
    const PollerLoad::Totals totals = engine_.pollers[i]->load().at(now);
    const double waited = fractional_seconds(totals.waited - totals_[i].waited) / window;
    const double late = fractional_seconds(totals.late - totals_[i].late) / window;
    figures_[i] = {std::clamp(1 - waited, 0.0, 1.0), std::clamp(late, 0.0, 1.0)};
    totals_[i] = totals;
  }
  began_ = now;
  next_ = now + kWindow;
}

void Balancer::decide(MonotonicTime now) {
  at_rest_ = !PollerBalance::needs_spare(figures_);
  const PollerBalance::Decision decision =
      balance_->step(figures_, at_rest_ ? 0 : measure_spare(now));
  newcomers_.store(decision.newcomers, std::memory_order_relaxed);
  for (const MoveOrder& order : decision.moves) {
    engine_.pollers[order.from]->pass_on({engine_.pollers[order.to].get(), order.share, ++rounds_});
  }
}

double Balancer::measure_spare(MonotonicTime now) {
  if (engine_.options.spare_processors) return engine_.options.spare_processors();
  if (!spare_) spare_.emplace();
  return spare_->measure(now, process_cpu_time()).value_or(0);
}

Poller& Balancer::poller_for_newcomer() {
  const std::uint64_t takers = newcomers_.load(std::memory_order_relaxed);
  const std::uint64_t behind_last = takers & ~((std::uint64_t{2} << last_taker_) - 1);
  last_taker_ = static_cast<std::size_t>(std::countr_zero(behind_last != 0 ? behind_last : takers));
  return *engine_.pollers[last_taker_];
}

}  // namespace vigil::http
