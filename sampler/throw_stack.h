// The stack of a throw, for whoever catches it.
//
//   catch (...) {
//     Stack stack = throw_stack_of(std::current_exception());
//     log.error("…", {{"stack", stack_text(stack, *modules.current(), &symbolizer)}});
//   }
//
// The C++ runtime keeps nothing of where an exception came from: when the handler runs, the frames
// between are gone. So this part, linked only by programs that ask for it (vigil::throw_stack),
// defines __cxa_throw, which every throw expression calls: it notes the return addresses and calls
// the runtime's own. Rejected: a hook for all users of vigil (a library must not change every throw
// of its program), and unwinding in the catch handler (it sees the catcher's stack only).
//
// What is noted goes into a table of kThrowsMax, by the exception object's address, oldest
// overwritten: no allocation, no lock, no thread-local storage, and an exception that was carried
// to another thread is found there too. An exception that kThrowsMax later throws have overtaken is
// not found. std::rethrow_exception and `throw;` keep the first throw's stack. Cost: about 0.3 us a
// frame for each throw, up to kThrowFramesMax; a throw costs some 2 us and as much a frame itself.
// Walked with libgcc's _Unwind_Backtrace, which takes no lock from gcc 12 with glibc 2.35 on (it
// looks frames up with _dl_find_object(3)); before, it takes the loader's, as throwing itself does.
// Not signal-safe, like throwing.
#pragma once

#include <cstddef>
#include <exception>

#include "sampler/address.h"

namespace vigil::sampler {

inline constexpr std::size_t kThrowsMax = 64;
inline constexpr std::size_t kThrowFramesMax = 64;

// Where `exception` was thrown, innermost frame first; no frames and kNotWalked if that is not
// known (null, overtaken, or thrown by code that does not call our __cxa_throw: one that is linked
// statically into a shared library). Thread-safe.
Stack throw_stack_of(const std::exception_ptr& exception);

}  // namespace vigil::sampler
