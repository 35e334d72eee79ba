// libunwind as a shared library, for the agent's shared object: target vigil_libunwind_shared instead of vigil_libunwind.
//
//   if (auto loaded = load_libunwind(); !loaded) …     // before the first Unwinder
#pragma once

#include "base/result.h"

namespace vigil::sampler {

// Loads "libunwind-x86_64.so.8", never unloaded. unsupported, with what to install. Takes the loader's lock. Call it
// again at will, but not while there is an Unwinder.
Result<void> load_libunwind();

// For handlers of pthread_atfork(3): after hold_libunwind() no thread is inside libunwind until the same thread, or the
// child's, calls release_libunwind(). A frame's step is what it waits for, some microseconds.
void hold_libunwind();
void release_libunwind();

}  // namespace vigil::sampler
