// The calling thread's own registers and stack.
#pragma once

#include <cstddef>
#include <vector>

#include "sampler/registers.h"

namespace vigil::sampler {

struct OwnCapture {
  RegisterSet registers;
  std::vector<std::byte> bytes;  // the copy that `stack` borrows
  StackCopy stack;
};

// Captures the calling thread where it is: the innermost frame is inside this function. At most
// `bytes_max` of stack are copied. No signal. The result may be moved.
OwnCapture capture_own_stack(std::size_t bytes_max);

}  // namespace vigil::sampler
