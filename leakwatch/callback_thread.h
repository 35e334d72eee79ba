// CallbackThread: runs what the program wants to be told, on a thread of its own, so that neither
// the watchdog nor a handler waits for it.
//
//   CallbackThread calls({.budget = 1s}, clock);
//   calls.post([report] { page_somebody(report); });
//
// Calls run one after the other. One that takes longer than the budget is counted as overrun and
// left running: nothing can end it, and what is posted meanwhile waits, up to queued_max; what
// comes then is dropped and counted. An exception is counted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "base/clock.h"

namespace vigil::leakwatch {

struct CallbackThreadOptions {
  Duration budget = std::chrono::seconds(1);
  std::size_t queued_max = 256;
};

// Thread-safe. `clock` must outlive it.
class CallbackThread {
 public:
  CallbackThread(CallbackThreadOptions options, Clock& clock);
  // Drops what has not begun, and waits for what has, at most the budget. A call that goes on
  // beyond it keeps its thread, which touches nothing but itself and the call.
  ~CallbackThread();
  CallbackThread(const CallbackThread&) = delete;
  CallbackThread& operator=(const CallbackThread&) = delete;

  void post(std::function<void()> call);

  // Counts the running call if it is past its budget: once. True if it has just been counted. For
  // who looks regularly; the end of a call is counted by itself.
  bool has_overrun(MonotonicTime now);

  struct Counters {
    std::uint64_t called = 0;   // begun
    std::uint64_t overrun = 0;  // of these, longer than the budget
    std::uint64_t failed = 0;   // of these, ended by an exception
    std::uint64_t dropped = 0;  // never begun
  };
  Counters counters() const;

 private:
  struct State;
  static void run(const std::shared_ptr<State>& state);

  const CallbackThreadOptions options_;
  Clock& clock_;
  const std::shared_ptr<State> state_;  // the thread has it too
  std::thread thread_;
};

}  // namespace vigil::leakwatch
