// Asks threads by signal for their registers and stack, and waits for the answers. The collector's
// half of the slot protocol (sigsafe/tables.h, drawn in README.md).
//
//   SignalCapture capture(channel, clock);
//   capture.request(tid, ticket);                  // any number of them, then
//   capture.wait(deadline);
//   while (auto answer = capture.take_answer()) { use(*answer); capture.release(*answer); }
//   for (std::size_t ticket : capture.give_up()) …  // no answer
//
// Not thread-safe; several objects may use one channel at once.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "sampler/registers.h"
#include "sampler/signal_channel.h"
#include "sampler/thread_work.h"

namespace vigil::sampler {

// The registers in a slot that the caller owns.
RegisterSet registers_of(const sigsafe::Slot& slot);
// The stack in it; borrows the slot.
StackCopy stack_of(const sigsafe::Slot& slot);

class SignalCapture {
 public:
  // Both must outlive the object.
  SignalCapture(SignalChannel& channel, Clock& clock);
  // Gives up what is outstanding.
  ~SignalCapture() { drop(); }
  SignalCapture(const SignalCapture&) = delete;
  SignalCapture& operator=(const SignalCapture&) = delete;

  enum class Request : std::uint8_t {
    kQueued,
    kNoSlot,  // every slot is in use, or the system's queue of signals is full (RLIMIT_SIGPENDING):
              // later
    kGone,    // no such thread
  };
  // How the signal comes to the thread.
  enum class Way : std::uint8_t {
    kQueued,      // at once, whatever the thread is doing
    kWhenItRuns,  // at the first tick that finds it running (4 ms at the usual rate), so that it
                  // never meets the thread in a sleep (make_cpu_timer); where there can be no
                  // timer, as kQueued
  };
  // Asks `tid`, a thread of this process. `ticket` comes back with the answer.
  Request request(pid_t tid, std::size_t ticket, Way way = Way::kQueued);

  // The threads that were asked kWhenItRuns and have not answered.
  struct Waiting {
    pid_t tid = 0;
    std::size_t ticket = 0;
  };
  std::vector<Waiting> waiting_to_run() const;
  // Takes such a request back; false if its answer is there or being written.
  bool withdraw(std::size_t ticket);

  std::size_t outstanding() const { return requests_.size(); }

  struct Answer {
    std::size_t ticket = 0;
    sigsafe::Slot* slot = nullptr;
    RegisterSet registers;
    StackCopy stack;  // borrows the slot: valid until release()
    ThreadWork work;
    Duration held{};
  };
  std::optional<Answer> take_answer();
  void release(const Answer& answer);

  // Returns when an answer is there, at `deadline`, or after kSliceMax, whichever is first.
  void wait(MonotonicTime deadline);

  // Takes back the requests to threads that have ended; their tickets.
  std::vector<std::size_t> take_gone();

  // Takes back all outstanding requests; their tickets. Their slots are parked until the late
  // signal or the thread's end.
  std::vector<std::size_t> give_up();
  // The same without a list: for who ends by an exception.
  void drop() noexcept;

  // Waiting happens in slices, to notice threads that end without answering (and a fake clock that
  // moves).
  static constexpr std::chrono::milliseconds kSliceMax{10};

 private:
  struct Pending {
    std::size_t ticket = 0;
    sigsafe::Slot* slot = nullptr;
    std::uint64_t generation = 0;
    pid_t tid = 0;
    std::uint64_t start_ticks = 0;  // tells a reused id from the old thread; 0: could not be read
    std::optional<timer_t> timer = {};
  };

  // 0 or errno.
  int send(Pending& pending, std::uint32_t index, Way way);
  bool has_answer() const;
  void park(const Pending& pending) noexcept;
  void reclaim_parked();

  SignalChannel& channel_;
  Clock& clock_;
  // With room for every slot from the start: adding to them must not fail.
  std::vector<Pending> requests_;
  std::vector<Pending> parked_;
};

}  // namespace vigil::sampler
