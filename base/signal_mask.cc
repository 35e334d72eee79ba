#include "base/signal_mask.h"

#include <initializer_list>

namespace vigil {

namespace {

sigset_t all_but_faults() noexcept {
  sigset_t signals;
  sigfillset(&signals);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) sigdelset(&signals, fault);
  return signals;
}

}  // namespace

SignalMaskGuard SignalMaskGuard::all() noexcept { return SignalMaskGuard(all_but_faults()); }

SignalMaskGuard SignalMaskGuard::program_signals() noexcept {
  sigset_t signals = all_but_faults();
  sigdelset(&signals, SIGPROF);
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) sigdelset(&signals, signal);
  return SignalMaskGuard(signals);
}

}  // namespace vigil
