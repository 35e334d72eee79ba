// For ThreadSanitizer only: the happens-before edge of what a signal handler hands over by pointer.
//
// A thread makes a label set or a name; its handler puts the pointer into a slot and releases the
// slot's word; a collector acquires the word and reads what the pointer leads to. That orders the
// reads behind the making, but ThreadSanitizer does not see the handler's part, which is compiled
// without it (CMakeLists.txt). These two tell it of this edge, and of nothing more: a write to the
// object after it was made is still a race to it, and so is a reader that did not get it from a
// slot and has no edge of its own. That the slot's word itself orders is slot_protocol_test's.
//
// Nothing in other builds. Thread-safe; not signal-safe, and not for the handler.
#pragma once

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace vigil::sampler {

// By the maker, behind its last write.
inline void release_to_slots([[maybe_unused]] const void* object) noexcept {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(const_cast<void*>(object));
#endif
}

// By the collector, behind its acquiring load of the slot's word. Null is allowed.
inline void acquire_from_slot([[maybe_unused]] const void* object) noexcept {
#if defined(__SANITIZE_THREAD__)
  if (object != nullptr) __tsan_acquire(const_cast<void*>(object));
#endif
}

}  // namespace vigil::sampler
