#include "server-core/flight_limit.h"

#include "server-core/poller.h"

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

void FlightLimit::park(Connection& connection) {
  {
    std::lock_guard lock(mutex_);
    std::uint64_t counts = counts_.load();
    // Slots that came free since enter() found nobody parked to go to.
    bool free = parked_.empty() && in_flight(counts) < max_;
    while (free && !counts_.compare_exchange_weak(counts, counts - kWaiting + kInFlight)) {
      free = in_flight(counts) < max_;
    }
    if (!free) {
      connection.parked = true;
      parked_.push_back(connection);
      return;
    }
  }
  connection.pass = QueuePass::kGranted;
  connection.poller.give(connection);
}

void FlightLimit::cancel_reservation() { counts_.fetch_sub(kWaiting); }

bool FlightLimit::take_back(Connection& connection) {
  std::lock_guard lock(mutex_);
  if (!connection.parked) return false;
  connection.parked = false;
  parked_.remove(connection);
  counts_.fetch_sub(kWaiting);
  return true;
}

void FlightLimit::leave() {
  if (max_ == 0) return;
  std::uint64_t counts = counts_.load();
  while (waiting(counts) == 0) {
    if (counts_.compare_exchange_weak(counts, counts - kInFlight)) return;
  }
  Connection* next = nullptr;
  {
    std::lock_guard lock(mutex_);
    next = parked_.pop_front();
    if (next == nullptr) {
      counts_.fetch_sub(kInFlight);
      return;
    }
    next->parked = false;
    counts_.fetch_sub(kWaiting);  // the slot changes hands
  }
  next->pass = QueuePass::kGranted;
  next->poller.give(*next);
}

}  // namespace vigil::http
