// What a capture brings home: the registers of a thread and a copy of the live part of its stack.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace vigil::sampler {

// The general registers of x86-64 in DWARF's numbering (System V ABI, figure 3.36), which is also
// libunwind's.
enum class Register : std::uint8_t {
  kRax,
  kRdx,
  kRcx,
  kRbx,
  kRsi,
  kRdi,
  kRbp,
  kRsp,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15,
  kRip,
};
inline constexpr std::size_t kRegisterCount = 17;

// Register values, each known or unknown. A signal-free capture knows rip, rsp and the arguments
// of the system call only: the kernel shows no more (/proc/PID/syscall, proc(5)). Unknown is not zero: a zero rbp would end a walk as if the stack
// were complete.
class RegisterSet {
 public:
  constexpr void set(Register reg, std::uintptr_t value) {
    values_[index(reg)] = value;
    known_ |= 1u << index(reg);
  }
  constexpr bool knows(Register reg) const { return ((known_ >> index(reg)) & 1u) != 0; }
  // 0 when unknown.
  constexpr std::uintptr_t get(Register reg) const { return values_[index(reg)]; }

  constexpr std::uintptr_t pc() const { return get(Register::kRip); }
  constexpr std::uintptr_t sp() const { return get(Register::kRsp); }

 private:
  static constexpr std::size_t index(Register reg) { return static_cast<std::size_t>(reg); }

  std::array<std::uintptr_t, kRegisterCount> values_{};
  std::uint32_t known_ = 0;
};

// Bytes of a thread's stack as they were at one moment. Borrows: the bytes belong to the caller.
struct StackCopy {
  std::uintptr_t base =
      0;  // address of bytes[0] in the thread's memory; below rsp, see kRedZoneBytes
  std::span<const std::byte> bytes;  // upwards from base
  // First address above this thread's stack, 0 if unknown. Between the end of `bytes` and this,
  // memory is live stack that has moved on since: reading it would mix two moments.
  std::uintptr_t stack_end = 0;

  std::uintptr_t end() const { return base + bytes.size(); }

  bool contains_word(std::uintptr_t address) const {
    return address >= base && bytes.size() >= sizeof(std::uint64_t) &&
           address - base <= bytes.size() - sizeof(std::uint64_t);
  }
  // The word at `address` in the thread's memory, as it was; nothing outside the copy.
  std::optional<std::uint64_t> word_at(std::uintptr_t address) const {
    if (!contains_word(address)) return std::nullopt;
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + (address - base), sizeof word);
    return word;
  }
};

// A leaf function may use this many bytes below rsp (System V ABI 3.2.2), so copies begin there.
inline constexpr std::size_t kRedZoneBytes = 128;

}  // namespace vigil::sampler
