#include "base/signal_mask.h"

#include <initializer_list>

namespace vigil {

SignalMaskGuard SignalMaskGuard::program_signals() noexcept {
  sigset_t signals;
  sigfillset(&signals);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) sigdelset(&signals, fault);
  sigdelset(&signals, SIGPROF);
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) sigdelset(&signals, signal);
  return SignalMaskGuard(signals);
}

}  // namespace vigil
