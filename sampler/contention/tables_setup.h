// Making the shared tables, and taking slots out of them: the collector's side of wait_tables.h.
#pragma once

#include "base/result.h"
#include "sampler/address.h"
#include "sampler/contention/wait_tables.h"
#include "sampler/unwinder.h"

namespace vigil::sampler::contention {

// Maps the tables at the first call, and has fork(2)'s children switched off. Later calls return
// the same ones. resource_exhausted: no memory, or no key for thread-specific data.
Result<WaitTables*> prepare_tables();

// The stack in a slot: the interposed function, then its callers. Of the frames of ours between
// nothing is left; a caller that has jumped to it, so that its frame is gone, is put back
// where its own caller's call instruction shows it.
Stack unwind_slot(const WaitSlot& slot, Unwinder& unwinder);

// Calls `use(const WaitSlot&)` for each slot that is complete, and frees it.
template <typename Use>
void drain_slots(WaitTables& shared, Use&& use) {
  shared.done_slots.take_all([&](std::size_t number) {
    use(static_cast<const WaitSlot&>(shared.slots[number]));
    shared.free_slots.set(number);
  });
}

}  // namespace vigil::sampler::contention
