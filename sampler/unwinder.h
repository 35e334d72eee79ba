// From registers and a copy of the stack to the list of frames. Off the target thread, in no hurry,
// fault-safe.
//
//   Unwinder unwinder(modules);
//   Stack stack = unwinder.unwind(registers, copy, kFramesMax);
//
// libunwind does the DWARF work through accessors of ours: registers come from the capture, stack
// words from the copy, code and unwind tables from our own memory through a page cache, module
// ranges from Modules. It never calls dl_iterate_phdr, so it works while the program is stuck in
// the loader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "sampler/address.h"
#include "sampler/module_table.h"
#include "sampler/registers.h"

namespace vigil::sampler {

// The default and the largest useful number of frames: a 64 KiB copy holds hardly more.
inline constexpr std::size_t kFramesMax = 512;

struct UnwinderStats {
  std::uint64_t walks = 0;
  // Of their frames: those left as frames at the same instruction were before (frame_rules.h), and
  // those that libunwind looked at.
  std::uint64_t steps_by_rule = 0;
  std::uint64_t steps_by_libunwind = 0;
};

// Thread-safe: one mutex, callers take turns.
class Unwinder {
 public:
  // `modules` must outlive the unwinder; it is refreshed by its owner, not here.
  explicit Unwinder(Modules& modules);
  ~Unwinder();
  Unwinder(const Unwinder&) = delete;
  Unwinder& operator=(const Unwinder&) = delete;

  // The frames of the thread whose registers and stack these are, innermost first. `registers` must
  // know rip and rsp, else the result is empty with kNotWalked; any values are safe, however wild.
  // `frames_max` ≥ 1.
  //
  // Stack::end says how far it came:
  //   kComplete      the unwind information of the last frame says that it has no caller
  //   kTruncated     frames_max reached, or a word beyond the copy but below the stack's end was
  //   needed kNoUnwindInfo  code without unwind information, and no frame pointer to follow
  //   kBadMemory     an unreadable word, a register that the capture does not know, or no progress
  //
  // A frame pointer that is unknown but needed (signal-free capture of -O0 code) is searched for in
  // the copy; see frame_pointer_search.h.
  //
  // Cost: fewer than 400 instructions a frame where a frame at that instruction was left before
  // (frame_rules.h, at most 1 MiB); else 0.3 to 0.5 us when warm, about 10 us for code never seen
  // before.
  Stack unwind(const RegisterSet& registers, const StackCopy& stack, std::size_t frames_max);

  UnwinderStats stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vigil::sampler
