// DeadlineTimer: runs an action when a deadline passes. For what a connection's own timer does not
// cover: contexts with a shorter deadline, and deadlines that a handler moves to an earlier time.
//
//   DeadlineTimer timer(clock);
//   DeadlineTimer::Entry entry = timer.at(clock.now() + 2s, [source]() mutable {
//     source.request_stop();
//   });
//   …
//   entry.cancel();      // or its destruction: the action does not run, or has ended
//
// One thread, started by the first at(), for all deadlines of a server; a server whose handlers
// never narrow a deadline has no such thread. An action runs on that thread and holds up the
// others: it must be short and must not throw. Thread-safe. Cost: a lock and a map's node each for
// at() and cancel(), O(log n).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "base/clock.h"

namespace vigil::http {

class DeadlineTimer {
  struct State;

 public:
  // `clock` must outlive the timer.
  explicit DeadlineTimer(Clock& clock);
  // stop().
  ~DeadlineTimer();
  DeadlineTimer(const DeadlineTimer&) = delete;
  DeadlineTimer& operator=(const DeadlineTimer&) = delete;

  // Owns one action that waits. An empty one does nothing.
  class Entry {
   public:
    Entry() = default;
    Entry(Entry&& other) noexcept = default;
    Entry& operator=(Entry&& other) noexcept {
      cancel();
      state_ = std::move(other.state_);
      deadline_ = other.deadline_;
      id_ = other.id_;
      return *this;
    }
    ~Entry() { cancel(); }

    // From its return on the action does not run: it was taken out, had ended, or has been waited
    // for. Called from the action itself, it does not wait.
    void cancel();

   private:
    friend class DeadlineTimer;
    Entry(std::shared_ptr<State> state, MonotonicTime deadline, std::uint64_t id)
        : state_(std::move(state)), deadline_(deadline), id_(id) {}

    std::shared_ptr<State> state_;
    MonotonicTime deadline_{};
    std::uint64_t id_ = 0;
  };

  // Runs `action` once, when `deadline` has passed; at the earliest opportunity if it has already.
  // If the system has no thread for the timer, the action runs at once, on the calling thread: a
  // deadline that cannot be watched counts as passed.
  Entry at(MonotonicTime deadline, std::function<void()> action);

  // Ends the thread: no action runs from now on, except by at(), which then runs it at once. The
  // clock is not touched any more. Entries may outlive the timer.
  void stop();

 private:
  std::shared_ptr<State> state_;
};

}  // namespace vigil::http
