// FlightLimit: how many requests are in handlers, and the queue of those that wait to be.
//
// A waiting request is its connection, parked: no thread, only the bytes that have been received.
//
//   enter() ── a slot is free ────────────────────────────────▶ kAdmitted ── leave()
//      ├────── none, but the queue has room ──▶ kReserved ── park() ──▶ waits
//      └────── neither ──▶ kRefused                                      ├─ a slot: given to its
//                                                                        │  poller with kGranted
//                                                                        └─ take_back(): its wait
//                                                                           is over, or it is gone
//
// The two counts are halves of one word, so that "a slot is free" and "nobody waits" are seen at
// once: without a queue, and while it is empty, entering and leaving are a compare-exchange each. A
// newcomer never overtakes one that waits.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "server-core/connection_list.h"

namespace vigil::http {

// Thread-safe. Nothing in it allocates.
class FlightLimit {
 public:
  enum class Entry : std::uint8_t { kAdmitted, kReserved, kRefused };

  // `max`: 0 for no limit, then everything is admitted and nothing counted. Both below 2^31.
  FlightLimit(std::size_t max, std::size_t queue_max) : max_(max), queue_max_(queue_max) {}

  Entry enter();
  // Without waiting: false if there is no free slot, or others wait for one.
  bool enter_now() {
    const Entry entry = enter();
    if (entry == Entry::kReserved) cancel_reservation();
    return entry == Entry::kAdmitted;
  }

  // After kReserved. Nothing of the connection may be touched behind it: it may be granted a slot
  // before this returns, and is given to its poller then. Until that, its flags must say
  // kOwnedByHandler and kQueued.
  void park(Connection& connection);
  // After kReserved, instead of park().
  void cancel_reservation();

  // By the connection's leader: takes a parked connection out, which is the caller's then. false if
  // it has a slot already and is on its way through the inbox, or is not parked yet.
  bool take_back(Connection& connection);

  // The end of an admitted or granted request. The slot goes to the request that has waited
  // longest.
  void leave();

 private:
  static constexpr std::uint64_t kInFlight = 1;
  static constexpr std::uint64_t kWaiting = std::uint64_t{1} << 32;
  static std::uint64_t in_flight(std::uint64_t counts) { return counts & (kWaiting - 1); }
  static std::uint64_t waiting(std::uint64_t counts) { return counts / kWaiting; }

  const std::uint64_t max_;
  const std::uint64_t queue_max_;
  std::atomic<std::uint64_t> counts_{0};
  std::mutex mutex_;
  ConnectionList parked_;  // guarded by mutex_; waiting() counts reservations too
};

}  // namespace vigil::http
