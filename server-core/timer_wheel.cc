#include "server-core/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace vigil::http {

void TimerWheel::arm(Node& node, MonotonicTime when) {
  const std::int64_t horizon = current_ + static_cast<std::int64_t>(kSlots) - 1;
  // Rounded up, so that the callback finds the deadline passed.
  const std::int64_t wanted = when == kNoDeadline ? horizon : tick_of(when) + 1;
  const std::int64_t tick = std::clamp(wanted, current_, horizon);
  if (node.linked()) {
    if (node.tick <= tick) return;
    disarm(node);
  }
  const std::size_t slot = slot_of(tick);
  node.tick = tick;
  node.previous = nullptr;
  node.next = slots_[slot];
  if (node.next != nullptr) node.next->previous = &node;
  slots_[slot] = &node;
  occupied_[slot / 64] |= std::uint64_t{1} << (slot % 64);
  earliest_ = linked_ == 0 ? tick : std::min(earliest_, tick);
  ++linked_;
}

void TimerWheel::disarm(Node& node) {
  if (!node.linked()) return;
  const std::size_t slot = slot_of(node.tick);
  if (node.next != nullptr) node.next->previous = node.previous;
  if (node.previous != nullptr) {
    node.previous->next = node.next;
  } else {
    slots_[slot] = node.next;
    if (node.next == nullptr) occupied_[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
  }
  node = Node{};
  --linked_;
}

TimerWheel::Node* TimerWheel::pop_due(MonotonicTime now) {
  const std::int64_t now_tick = tick_of(now);
  if (linked_ > 0) {
    const std::int64_t first = first_occupied();
    if (first <= now_tick) {
      current_ = first;
      Node* node = slots_[slot_of(first)];
      disarm(*node);
      return node;
    }
  }
  current_ = std::max(current_, now_tick);
  return nullptr;
}

// All linked ticks lie in [current_, current_ + kSlots), so a slot stands for one tick.
std::int64_t TimerWheel::first_occupied() const {
  const std::int64_t from = std::max(current_, earliest_);
  std::size_t slot = slot_of(from);
  std::int64_t tick = from;
  for (std::size_t words = 0; words <= kSlots / 64; ++words) {
    const std::uint64_t bits = occupied_[slot / 64] >> (slot % 64);
    if (bits != 0) {
      tick += std::countr_zero(bits);
      break;
    }
    tick += static_cast<std::int64_t>(64 - slot % 64);
    slot = slot_of(tick);
  }
  earliest_ = tick;
  return tick;
}

MonotonicTime TimerWheel::next_look() const {
  if (linked_ == 0) return kNoDeadline;
  return MonotonicTime(first_occupied() * kTick);
}

}  // namespace vigil::http
