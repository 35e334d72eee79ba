// ErrnoGuard: the first statement of every signal handler.
#pragma once

#include <errno.h>

namespace vigil::sampler::sigsafe {

// Puts errno back as it found it. The interrupted code may be between a failed call and the line
// that looks at errno.
class ErrnoGuard {
 public:
  [[gnu::always_inline]] ErrnoGuard() noexcept : saved_(errno) {}
  [[gnu::always_inline]] ~ErrnoGuard() { errno = saved_; }
  ErrnoGuard(const ErrnoGuard&) = delete;
  ErrnoGuard& operator=(const ErrnoGuard&) = delete;

 private:
  int saved_;
};

}  // namespace vigil::sampler::sigsafe
