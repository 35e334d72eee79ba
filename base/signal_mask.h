// SignalMaskGuard: blocks signals for the calling thread and a scope.
#pragma once

#include <signal.h>

namespace vigil {

// Blocks `signals` in the calling thread; the destructor restores the mask that was there before,
// so a signal that was already blocked stays blocked. (A guard that unblocks instead is a known bug
// of this field: the caller's own mask is lost.) Both run on the same thread. Signal-safe. Cost:
// one system call each.
//
// Threads inherit the mask: a guard around the start of a thread gives one that never runs a handler
// of the program for these signals.
class SignalMaskGuard {
 public:
  explicit SignalMaskGuard(const sigset_t& signals) noexcept {
    pthread_sigmask(SIG_BLOCK, &signals, &previous_);
  }
  ~SignalMaskGuard() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }
  SignalMaskGuard(const SignalMaskGuard&) = delete;
  SignalMaskGuard& operator=(const SignalMaskGuard&) = delete;

  // For starting threads of ours that shall not run the program's handlers. Every signal that can
  // be blocked, except
  //  - SIGPROF and the real-time signals: they are profiled and dumped like any other thread (the
  //    sampler's signal is a real-time one);
  //  - those that a faulting instruction raises in its own thread (SIGSEGV, SIGBUS, SIGFPE, SIGILL,
  //    SIGTRAP): blocking these would hide a crash from the program's own crash handler.
  static SignalMaskGuard program_signals() noexcept;

 private:
  sigset_t previous_;
};

}  // namespace vigil
