// Registers and stacks as a corrupted thread has them: the walk ends, with a reason, within its
// bounds, and reads nothing that it may not.

#include <algorithm>
#include <array>
#include <vector>

#include "sampler/unwinder.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace vigil::sampler;
using vigil::fuzz::fuzz_require;

struct Process {
  Process() { fuzz_require(static_cast<bool>(modules.refresh()), "the modules of this process"); }
  Modules modules;
  Unwinder unwinder{modules};
};

// An address somewhere in real code, so that real unwind information meets wild data.
std::uintptr_t some_code(const ModuleTable& table, std::uint64_t choice) {
  const auto& modules = table.modules();
  if (modules.empty()) return choice;
  const Module& module = modules[(choice >> 32) % modules.size()];
  return module.start + (choice & 0xffffffff) % (module.end - module.start);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Process process;
  const auto table = process.modules.current();
  vigil::fuzz::FuzzInput input(data, size);
  const std::uint64_t mode = input.number(1);
  RegisterSet registers;
  for (std::size_t i = 0; i < kRegisterCount; ++i) {
    if ((mode & 1) == 0 || i % 2 == 0) registers.set(static_cast<Register>(i), input.number(8));
  }
  const std::uint64_t choice = input.number(8);
  registers.set(Register::kRip, (mode & 2) != 0 ? some_code(*table, choice) : choice);
  StackCopy stack;
  stack.base = (mode & 4) != 0 ? input.number(8) : 0x7ff000000000;
  registers.set(Register::kRsp,
                stack.base + kRedZoneBytes + ((mode & 8) != 0 ? input.number(1) : 0));
  if ((mode & 16) != 0) registers.set(Register::kRbp, registers.sp() + input.number(1));
  stack.stack_end = (mode & 32) != 0 ? input.number(8) : 0;
  // The stack: the input's words, every second one a place in real code if the mode says so.
  std::vector<std::uint64_t> words;
  while (!input.rest().empty() && words.size() < 512) {
    const std::uint64_t word = input.number(8);
    words.push_back((mode & 64) != 0 && words.size() % 2 == 1 ? some_code(*table, word) : word);
  }
  stack.bytes = std::as_bytes(std::span(words));

  const std::size_t frames_max = (mode & 128) != 0 ? 4 : kFramesMax;
  const Stack walked = process.unwinder.unwind(registers, stack, frames_max);
  fuzz_require(walked.frames.size() <= frames_max, "the frames are limited");
  fuzz_require(walked.frames.empty() || walked.frames.front().raw() == registers.pc(),
               "the first frame is the program counter");
  fuzz_require(process.unwinder.unwind(registers, stack, frames_max) == walked,
               "the same capture gives the same stack");
  return 0;
}
