// Balancer: sees to it that as many pollers are used as are needed. What is decided when is
// PollerBalance's (poller_balance.h); this measures, and has it done.
//
//   monitor, each kWindow while there is work     leaders
//   PollerLoad of each poller  ◀───────────────── kept up around epoll_wait
//   processors to spare (only if one is busy)
//   PollerBalance::step()
//     ├─ newcomers: a word ─────────────────────▶ acceptor: poller_for_newcomer()
//     └─ moves: Poller::pass_on(), inbox ───────▶ for one window every n-th connection that has an event
//                                                 moves (poller_moves.cc)
//
// The hot path reads no clock and takes no lock for any of it. A server with one poller has nothing to
// balance.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "server-core/poller_balance.h"
#include "server-core/poller_load.h"
#include "server-core/spare_processors.h"

namespace vigil::http {

class Engine;
class Poller;

class Balancer {
 public:
  static constexpr Duration kWindow = std::chrono::milliseconds(100);

  explicit Balancer(Engine& engine) : engine_(engine) {}

  // Before the monitor's thread: takes the memory that it needs. Throws std::bad_alloc.
  void prepare();

  // --- The monitor's thread. Memory that runs out costs it a decision, nothing else.

  // A window begins now. Also after a time without step().
  void begin(MonotonicTime now);
  // Decides, if the window is over, and begins the next.
  void step(MonotonicTime now);
  // When that is.
  MonotonicTime next() const { return next_; }
  // No poller was busy in the last window: step() need not be called until there is work again.
  bool at_rest() const { return at_rest_; }

  // --- The first poller's leader.

  // Where the next newcomer goes.
  Poller& poller_for_newcomer();

 private:
  void measure(MonotonicTime now);
  void decide(MonotonicTime now);
  double measure_spare(MonotonicTime now);

  Engine& engine_;

  // The monitor's. All of each poller.
  MonotonicTime began_{};
  MonotonicTime next_ = kNoDeadline;
  bool at_rest_ = true;
  std::vector<PollerLoad::Totals> totals_;
  std::vector<PollerFigures> figures_;
  std::optional<PollerBalance> balance_;
  std::optional<SpareProcessors> spare_;
  std::uint32_t rounds_ = 0;

  std::atomic<std::uint64_t> newcomers_{1};  // PollerBalance::Decision::newcomers

  std::size_t last_taker_ = 0;  // the first poller's leader's
};

}  // namespace vigil::http
