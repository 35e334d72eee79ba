// TimerWheel: when to look at which connection next, at a cost that does not grow with their
// number.
//
// Model. A ring of kSlots slots of kTick each; a node is linked in one slot or in none. The wheel
// knows when to *look* at a node, not its deadline: the owner keeps that, and re-arming to a later
// time is then a plain store into the connection. A node that comes up early is armed again by the
// callback. So a connection that is served a thousand times a second is linked anew once in each
// idle timeout, not a thousand times.
//
//      now                 horizon (32.8 s)
//   ....|--x---x-----------x---|    a deadline beyond the horizon is looked at there, and armed
//   again
//
// Pure but for its memory; not thread-safe: it belongs to the leader of one poller.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace vigil::http {

class TimerWheel {
 public:
  static constexpr Duration kTick = std::chrono::milliseconds(8);
  static constexpr std::size_t kSlots = 4096;  // a power of two

  // Embedded in what is timed; must be disarmed before it dies.
  struct Node {
    Node* next = nullptr;
    Node* previous = nullptr;
    std::int64_t tick = -1;  // -1: not linked
    bool linked() const { return tick >= 0; }
  };

  explicit TimerWheel(MonotonicTime now) : current_(tick_of(now)) {}

  // Sees to it that `node` comes up not before `when` rounded up to a tick, nor more than a tick
  // after that, unless it is already due to come up earlier. kNoDeadline: at the horizon, then
  // again.
  void arm(Node& node, MonotonicTime when);

  // Never comes up. Allowed for a node that is not linked.
  void disarm(Node& node);

  // Unlinks one node whose time has come, or gives nullptr when there is none left at `now`. The
  // caller looks at its real deadline and arms it again if that has not passed:
  //   while (TimerWheel::Node* node = wheel.pop_due(now)) …
  Node* pop_due(MonotonicTime now);

  // When pop_due() may next give something; kNoDeadline if nothing is linked. Never later than
  // that; may be earlier.
  MonotonicTime next_look() const;

 private:
  static std::int64_t tick_of(MonotonicTime time) { return time.time_since_epoch() / kTick; }
  static std::size_t slot_of(std::int64_t tick) { return static_cast<std::size_t>(tick) % kSlots; }

  std::int64_t first_occupied() const;

  std::int64_t current_;               // ticks before this one have been emptied
  mutable std::int64_t earliest_ = 0;  // no node is linked before it; valid if linked_ > 0
  std::size_t linked_ = 0;
  std::array<Node*, kSlots> slots_{};
  std::array<std::uint64_t, kSlots / 64> occupied_{};  // a bit for each slot that is not empty
};

}  // namespace vigil::http
