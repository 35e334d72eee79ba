#include "server-core/flight_limit.h"

#include <utility>

namespace vigil::http {

FlightLimit::Entry FlightLimit::enter() {
  if (max_ == 0) return Entry::kAdmitted;
  std::uint64_t counts = counts_.load();
  while (true) {
    if (waiting(counts) == 0 && in_flight(counts) < max_) {
      if (counts_.compare_exchange_weak(counts, counts + kInFlight)) return Entry::kAdmitted;
    } else if (waiting(counts) < queue_max_) {
      if (counts_.compare_exchange_weak(counts, counts + kWaiting)) return Entry::kReserved;
    } else {
      return Entry::kRefused;
    }
  }
}

FlightLimit::Parked FlightLimit::park(FlightWaiter& waiter) {
  const std::lock_guard lock(mutex_);
  std::uint64_t counts = counts_.load();
  // Slots that came free since enter() found nobody parked to go to.
  while (parked_.empty() && in_flight(counts) < max_) {
    if (counts_.compare_exchange_weak(counts, counts - kWaiting + kInFlight)) {
      return Parked::kHasSlot;
    }
  }
  waiter.parked_ = true;
  parked_.push_back(waiter);
  return Parked::kWaits;
}

void FlightLimit::cancel_reservation() { counts_.fetch_sub(kWaiting); }

bool FlightLimit::take_back(FlightWaiter& waiter) {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(waiter.parked_, false)) return false;
  parked_.remove(waiter);
  counts_.fetch_sub(kWaiting);
  return true;
}

void FlightLimit::leave() {
  if (max_ == 0) return;
  while (true) {
    std::uint64_t counts = counts_.load();
    while (waiting(counts) == 0) {
      if (counts_.compare_exchange_weak(counts, counts - kInFlight)) return;
    }
    FlightWaiter* next = nullptr;
    {
      const std::lock_guard lock(mutex_);
      next = parked_.pop_front();
      if (next == nullptr) {
        counts_.fetch_sub(kInFlight);
        return;
      }
      next->parked_ = false;
      counts_.fetch_sub(kWaiting);  // the slot changes hands
    }
    if (next->take_slot()) return;
  }
}

}  // namespace vigil::http
