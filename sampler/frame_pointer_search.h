// Finds a lost frame pointer. Pure: memory and code come through an interface.
//
// A signal-free capture knows rip and rsp only. Code compiled with frame pointers (-O0, sanitizers)
// computes its frame from rbp, and the C library's system call wrappers mostly leave rbp alone, so
// its value is in no known place. But the function's prologue (push %rbp; mov %rsp,%rbp) has left a
// recognizable pair on the stack:
//
//        higher addresses
//        | return address | <- right behind a call instruction, in code; a direct call names its
//        target
//   rbp->| caller's rbp   | <- points to the same kind of pair further up, or is the end of the
//   chain
//        | locals …       |
//   rsp->| …              |
//
// Stale pairs of returned calls lie *below* live frames' locals too, so plausible is not enough. A
// pair is taken only if
//   - the call before the return address is direct and goes to the function that is executing, be
//   it through the procedure
//     linkage table, or
//   - it is indirect, and its caller's-rbp link leads to another good pair or to the chain's end.
// A return address that is the kernel's signal trampoline marks the frame of a signal handler: the
// search ends there, because what lies above belongs to the interrupted code. The first of the
// former kind wins; else the first of the latter; else nothing: a wrong stack is worse than a short
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "sampler/registers.h"

namespace vigil::sampler {

// What the search must know about the program's code.
class CodeOracle {
 public:
  virtual ~CodeOracle() = default;
  // Whether `address` is in executable memory.
  virtual bool is_code(std::uintptr_t address) = 0;
  // The 8 bytes at `address`, unaligned, as they are now; nothing if unreadable.
  virtual std::optional<std::uint64_t> read_word(std::uintptr_t address) = 0;
};

// What ends right before a return address.
enum class CallKind : std::uint8_t {
  kNone,      // no call instruction
  kDirect,    // e8 rel32: the target is known
  kIndirect,  // ff /2, call through a register or memory
};
struct CallBefore {
  CallKind kind = CallKind::kNone;
  std::uintptr_t target = 0;  // kDirect only
};
CallBefore call_before(std::uintptr_t return_address, CodeOracle& code);

// Where a procedure linkage table entry at `address` jumps to: an indirect jump through a word of
// the global offset table, perhaps behind endbr64 and a bnd prefix. Nothing if there is no such
// entry, or its word is not readable. The word of a function that is executing has been bound.
std::optional<std::uintptr_t> plt_target(std::uintptr_t address, CodeOracle& code);

// The rbp of the frame that is at `sp` in the function that starts at `function_start` (0: not
// known, then every direct call is refused). Looks at `stack` from `sp` up to its end. Cost: 1 ns a
// word that is no code address.
std::optional<std::uintptr_t> find_frame_pointer(const StackCopy& stack, std::uintptr_t sp,
                                                 std::uintptr_t function_start, CodeOracle& code);

}  // namespace vigil::sampler
