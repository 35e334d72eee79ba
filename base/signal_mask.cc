#include "base/signal_mask.h"

#include <initializer_list>

namespace vigil {

SignalMaskGuard SignalMaskGuard::all() noexcept {
  sigset_t signals;
  sigfillset(&signals);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) sigdelset(&signals, fault);
  return SignalMaskGuard(signals);
}

}  // namespace vigil
