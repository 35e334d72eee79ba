#include "sampler/own_capture.h"

#include <ucontext.h>

#include "sampler/memory_reader.h"

namespace vigil::sampler {

OwnCapture capture_own_stack(std::size_t bytes_max) {
  OwnCapture capture;
  // Before getcontext: what is called after it must not change the frames that it describes.
  capture.bytes.resize(bytes_max);
  ucontext_t context;
  getcontext(&context);
  constexpr int kOrder[kRegisterCount] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                                          REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                          REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  for (std::size_t i = 0; i < kRegisterCount; ++i) {
    capture.registers.set(static_cast<Register>(i),
                          static_cast<std::uintptr_t>(context.uc_mcontext.gregs[kOrder[i]]));
  }
  capture.stack.base = capture.registers.sp();
  capture.bytes.resize(read_memory_prefix(capture.stack.base, capture.bytes));
  // A short copy ended at the stack's own end.
  if (capture.bytes.size() < bytes_max)
    capture.stack.stack_end = capture.stack.base + capture.bytes.size();
  capture.stack.bytes = capture.bytes;
  return capture;
}

}  // namespace vigil::sampler
