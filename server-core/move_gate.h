// MoveGate: keeps connections at their pollers while somebody must see all of them.
//
//   leader, moving a connection                 whoever looks at all pollers, one after the other
//   if (auto way = gate.try_enter()) {          const MoveGate::Closed still(gate);
//     … out of this poller, into the inbox      … no connection is between two pollers, and none leaves
//       of the other …                              the one that has it
//   }
//
// A leader never waits: what may not move now stays. Thread-safe. Cost for the leader: one uncontended lock
// for each connection that moves.
#pragma once

#include <mutex>

namespace vigil::http {

class MoveGate {
 public:
  // The right to move a connection while the result is held; it holds nothing if there is none.
  std::unique_lock<std::mutex> try_enter() {
    std::unique_lock way(mutex_, std::try_to_lock);
    if (way && closed_ > 0) way.unlock();
    return way;
  }

  // Waits for a move that is under way, some microseconds.
  class Closed {
   public:
    explicit Closed(MoveGate& gate) : gate_(gate) {
      const std::lock_guard lock(gate_.mutex_);
      ++gate_.closed_;
    }
    ~Closed() {
      const std::lock_guard lock(gate_.mutex_);
      --gate_.closed_;
    }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

   private:
    MoveGate& gate_;
  };

 private:
  std::mutex mutex_;
  int closed_ = 0;  // guarded by mutex_: how many keep it closed
};

}  // namespace vigil::http
