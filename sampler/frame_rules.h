// How to get from a frame to its caller's, remembered for each place in the code.
//
//   if (const FrameRule* rule = rules.find(pc)) { if (follow(*rule, copy, registers)) … }
//   else { …libunwind steps, its reads are watched…; rules.keep(pc, rule_of(step)); }
//
// Unwind information says for each instruction where the caller's registers are, and nearly always
// in one form: the canonical frame address (CFA) is rsp or rbp plus a constant, the return address
// lies right below it, and saved registers at constant distances. libunwind reads that from tables
// and interprets it: 0.35 us a frame when warm, 36,000 instructions where it has not been before.
// What one of its steps has read shows the form, and the constants: from then on a step from that
// instruction is an addition and a few loads, fewer than 400 instructions with the look-up
// (callgrind, tests/sampler/capture/unwinder_test.cc).
//
//     [CFA - 8]  return address ──► the caller's pc          CFA = rsp + cfa_offset
//     [CFA - 8 * saved[i]]      ──► callee-saved registers     or rbp + cfa_offset
//
// Steps of any other form (expressions that read memory, signal frames, another base register) are
// left to libunwind, each time. So are failures of every kind: follow() does nothing then. A walk has
// the same result with rules and without.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sampler/address.h"
#include "sampler/registers.h"

namespace vigil::sampler {

// Those that a function leaves to its caller as they were (System V ABI, figure 3.4), but rsp.
inline constexpr std::array<Register, 6> kCalleeSaved = {
    Register::kRbx, Register::kRbp, Register::kR12, Register::kR13, Register::kR14, Register::kR15};
inline constexpr std::size_t kRbpIndex = 1;
static_assert(kCalleeSaved[kRbpIndex] == Register::kRbp);

struct FrameRule {
  enum class Kind : std::uint8_t {
    kNotSimple,  // libunwind's to do
    kFromSp,
    kFromRbp,
    kNoCaller,  // the thread's first frame
  };
  Kind kind = Kind::kNotSimple;
  std::int32_t cfa_offset = 0;
  // Of each of kCalleeSaved: words below the CFA; 0: as it is.
  std::array<std::int16_t, kCalleeSaved.size()> saved{};

  friend bool operator==(const FrameRule&, const FrameRule&) = default;
};

// One step of libunwind's, as it was watched.
struct WatchedStep {
  // Where a register's value is.
  struct Place {
    enum class Kind : std::uint8_t { kNowhere, kRegister, kMemory };
    Kind kind = Kind::kNowhere;
    std::uint64_t at = 0;  // a Register, or an address
    friend bool operator==(const Place&, const Place&) = default;
  };
  using Places = std::array<Place, kCalleeSaved.size()>;
  // A value that the step has computed with, of the capture's registers or its copy of the stack.
  struct Read {
    Place place;
    std::uint64_t value = 0;
  };

  std::uintptr_t sp_before = 0;
  Places places_before;
  bool would_see_rbp = true;    // whether a read of rbp, where it was before, would be in `reads`
  std::span<const Read> reads;  // each place once
  bool has_caller = true;
  // With a caller:
  std::uintptr_t sp_after = 0;  // the CFA
  std::uintptr_t pc_after = 0;
  Places places_after;
};

// kNotSimple for a step that shows none of the simple forms. Pure.
FrameRule rule_of(const WatchedStep& step);

// Makes `registers` the caller's: rip and rsp are known, callee-saved ones as far as they were or
// are saved in the copy. False, and `registers` unchanged: a word that the rule needs is not in
// `copy`, rbp is needed and not known, or the CFA is not above rsp; rules of the other kinds. Pure.
bool follow(const FrameRule& rule, const StackCopy& copy, RegisterSet& registers);

// Rules by instruction. Not thread-safe (the Unwinder's mutex guards its own).
class FrameRules {
 public:
  // `rules_max` ≥ 1, some 64 bytes each, taken as they come. When full,
  // everything is dropped and filling starts again, as in PageCache.
  explicit FrameRules(std::size_t rules_max = kRulesMaxDefault) : rules_max_(rules_max) {}

  // Null: no step from there was watched. Valid until the next keep() or clear().
  const FrameRule* find(FrameAddress pc) const;
  void keep(FrameAddress pc, const FrameRule& rule);
  // Whenever the modules change: other code may be mapped at the same address.
  void clear();

  std::size_t size() const { return size_; }

  static constexpr std::size_t kRulesMaxDefault = 16 * 1024;

 private:
  struct Entry {
    std::uint64_t key = 0;  // 0: free
    FrameRule rule;
  };
  static std::uint64_t key_of(FrameAddress pc);
  // Where `key` is, or belongs. There is always a free entry.
  std::size_t index_of(std::uint64_t key) const;
  void grow();

  const std::size_t rules_max_;
  std::vector<Entry> entries_;  // a power of two, at most half of them used
  std::size_t size_ = 0;
};

}  // namespace vigil::sampler
