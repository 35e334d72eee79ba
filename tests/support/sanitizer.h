// Whether the test runs under a sanitizer, for what it cannot ask of the program then.
#pragma once

namespace vigil::test {

// Address or thread sanitizer. Either needs a multiple of the program's memory for its shadow, and
// keeps what was touched once (quarantine, each thread's history): resident memory says nothing
// about the program. Neither has vigil's hooks of malloc and of the lock functions.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool kUnderSanitizer = true;
#else
inline constexpr bool kUnderSanitizer = false;
#endif

}  // namespace vigil::test
