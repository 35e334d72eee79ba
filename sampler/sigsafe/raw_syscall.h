// System calls without the C library: no errno, no lazily bound symbol, no interceptor of a
// sanitizer or of a preloaded library. x86-64 only (System V ABI, appendix A.2.1).
#pragma once

#include <cstdint>

namespace vigil::sampler::sigsafe {

// The result, or -errno.
[[gnu::always_inline]] inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0,
                                               long d = 0, long e = 0, long f = 0) noexcept {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

// The address of the calling thread's control block: glibc puts it at the top of the stacks that it
// makes, and its first word points to itself.
[[gnu::always_inline]] inline std::uintptr_t thread_pointer() noexcept {
  std::uintptr_t pointer;
  __asm__("mov %%fs:0, %0" : "=r"(pointer));
  return pointer;
}

}  // namespace vigil::sampler::sigsafe
