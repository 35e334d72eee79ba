// What libunwind asks of a walk: registers, stack words, code, unwind tables. The Unwinder's own.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <libunwind.h>

#include "sampler/frame_rules.h"
#include "sampler/memory_reader.h"
#include "sampler/module_table.h"
#include "sampler/registers.h"

namespace vigil::sampler {

constexpr int as_int(Register reg) { return static_cast<int>(reg); }

// What a step ran into; libunwind's return codes do not tell.
struct Trouble {
  bool no_unwind_info = false;    // the table has nothing for the address
  bool unknown_register = false;  // a register that the capture does not know was needed
  bool beyond_copy = false;       // a word of the live stack above the copy was needed
  bool unreadable = false;
};

// What one step of libunwind's has computed with, for FrameRules.
class StepReads {
 public:
  void begin() {
    count_ = 0;
    is_simple_ = true;
  }
  void saw(WatchedStep::Place::Kind kind, std::uint64_t at, std::uint64_t value) {
    const WatchedStep::Place place{kind, at};
    const auto is_same = [&](const WatchedStep::Read& read) { return read.place == place; };
    if (std::any_of(reads_.begin(), reads_.begin() + count_, is_same)) return;
    if (count_ == reads_.size()) {
      is_simple_ = false;
      return;
    }
    reads_[count_++] = {place, value};
  }
  // Of memory that may be another at the next step from here.
  void saw_other_memory() { is_simple_ = false; }

  bool is_simple() const { return is_simple_; }
  std::span<const WatchedStep::Read> all() const { return std::span(reads_).first(count_); }

 private:
  std::array<WatchedStep::Read, 2> reads_;  // the return address and rbp: more is not simple
  std::size_t count_ = 0;
  bool is_simple_ = true;
};

// Whether StepReads would be told of a read of it: not of what is inside a module.
bool is_watched(const WatchedStep::Place& place, const StackCopy& copy);

// Everything the accessors answer from; the `void*` that libunwind passes through.
struct Walk {
  const RegisterSet* registers = nullptr;
  const StackCopy* stack = nullptr;
  const ModuleTable* modules = nullptr;
  PageCache* pages = nullptr;
  Trouble trouble;
  StepReads reads;
};

// For unw_create_addr_space(). None of them throws: libunwind calls them with its cache's lock, which
// would stay taken, and every walk after that would wait for it. A Walk is the argument of unw_init_remote().
unw_accessors_t walk_accessors();

// A word of the copy, of a module as it is mapped, or of other memory as it is now; nothing if it
// cannot be read, or is live stack beyond the copy: `walk.trouble` says which.
std::optional<std::uint64_t> read_word(Walk& walk, std::uintptr_t address);

// The accessor of that name; `argument` is a Walk.
int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t* info, int need_info,
                   void* argument);

}  // namespace vigil::sampler
