// The signal handler of the sampler. Nothing here allocates, locks, or calls a function that is not
// in this folder.
#pragma once

#include <signal.h>

#include <cstdint>

#include "sampler/sigsafe/tables.h"

namespace vigil::sampler::sigsafe {

// Makes `tables` the ones that the handler writes to; nullptr makes it inert. Returns the previous
// ones.
Tables* exchange_tables(Tables* tables) noexcept;

// Handlers that are running now, on all threads. After exchange_tables(nullptr), once this was 0 no
// handler uses the old tables any more.
std::uint32_t handlers_in_flight() noexcept;

// In a child of fork(2): its tables are its parent's, and the handlers in flight too.
void forget_parent() noexcept;

// The handler, for sigaction with SA_SIGINFO.
//  - SI_QUEUE from this process, si_value naming a slot in state kRequested with that generation:
//  fills the slot.
//  - SI_TIMER, si_value with kTimerCaptureBit: the same.
//  - SI_TIMER, si_value naming an open session: claims a sample slot and fills it, or counts the
//  sample as lost.
//  - anything else is counted as foreign and ignored.
// Frame: under 512 bytes (checked by the compiler). Time: about 1 us plus the copy of the stack.
void on_signal(int signal_number, siginfo_t* info, void* context) noexcept;

}  // namespace vigil::sampler::sigsafe
