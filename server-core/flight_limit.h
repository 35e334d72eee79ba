// FlightLimit: how many requests are in handlers, and the queue of those that wait to be.
//
// A waiting request holds no thread, only the bytes that have been received. It is a FlightWaiter: a
// connection of HTTP/1.1, or a stream of HTTP/2; both wait in one row.
//
//   enter() ── a slot is free ────────────────────────────────▶ kAdmitted ── leave()
//      ├────── none, but the queue has room ──▶ kReserved ── park() ──▶ waits
//      └────── neither ──▶ kRefused                                      ├─ take_slot(): it has one
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

#include "server-core/intrusive_list.h"

namespace vigil::http {

// What a request that has waited for a slot comes back from the queue with.
enum class QueuePass : std::uint8_t { kNone, kGranted, kExpired };

// A request that waits for a slot, linked through itself, so that waiting cannot fail for want of
// memory.
class FlightWaiter {
 public:
  virtual ~FlightWaiter() = default;
  // The slot is its: called once, without a lock held, on the thread that gives the slot up. The
  // waiter may be gone on return. false: it has no use for it any more.
  virtual bool take_slot() noexcept = 0;

 private:
  friend class FlightLimit;
  FlightWaiter* next_waiter_ = nullptr;  // all guarded by FlightLimit's mutex
  FlightWaiter* previous_waiter_ = nullptr;
  bool parked_ = false;
};

// Thread-safe. Nothing in it allocates.
class FlightLimit {
 public:
  enum class Entry : std::uint8_t { kAdmitted, kReserved, kRefused };
  enum class Parked : std::uint8_t { kWaits, kHasSlot };

  // `max`: 0 for no limit, then everything is admitted and nothing counted. Both below 2^31.
  FlightLimit(std::size_t max, std::size_t queue_max) : max_(max), queue_max_(queue_max) {}

  Entry enter();

  // After kReserved. kWaits: take_slot() comes, and may have come already, so that nothing of the
  // waiter may be touched that its taker may change. kHasSlot: one has come free meanwhile, and is the
  // caller's; take_slot() does not come.
  Parked park(FlightWaiter& waiter);
  // After kReserved, instead of park().
  void cancel_reservation();

  // Takes a parked waiter out, which gets no slot then. false if it has one already, and take_slot()
  // is being called or has been, or if it is not parked.
  bool take_back(FlightWaiter& waiter);

  // Requests that wait, as of now.
  std::size_t waiting() const { return waiting(counts_.load(std::memory_order_relaxed)); }

  // The end of an admitted request, or of one that took a slot. It goes to the request that has waited
  // longest. Calls take_slot(): no lock may be held that this takes.
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
  // Guarded by mutex_; waiting() counts reservations too.
  IntrusiveList<FlightWaiter, &FlightWaiter::next_waiter_, &FlightWaiter::previous_waiter_> parked_;
};

}  // namespace vigil::http
