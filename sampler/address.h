// Code addresses as the profiler meets them: where a thread is, and where it will return to.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

namespace vigil::sampler {

// The two kinds differ by one byte in every look-up. A return address is the instruction *after* the call; when the call
// is the function's last instruction (a callee that does not return), that byte belongs to the next function. So look-ups
// use return - 1, and this type is the only place that subtracts.
class FrameAddress {
 public:
  FrameAddress() = default;

  // Where a thread was interrupted, or what a signal frame returns to.
  static constexpr FrameAddress instruction(std::uintptr_t pc) { return FrameAddress(pc, 0); }
  // What a call pushed.
  static constexpr FrameAddress return_address(std::uintptr_t pc) { return FrameAddress(pc, 1); }

  // Frames that are no code, for a profile that names them in StackProfile::made_up_frames.
  //
  // One of a few of the collector's own, "[created before vigil]": in the first page, where nothing
  // is mapped.
  static constexpr FrameAddress made_up(std::uint8_t number) {
    return FrameAddress(kMadeUpFirst + number, 0);
  }
  // A line of the function whose name is the literal at `name`: where a coroutine waits. In the
  // kernel's half of the address space, the same for one place as long as the process lives: so
  // snapshots can be subtracted. Lines that are 65,536 apart are one.
  static constexpr FrameAddress place(std::uintptr_t name, std::uint32_t line) {
    return FrameAddress(kPlaces | name << 16 | (line & 0xFFFF), 0);
  }
  constexpr bool may_be_made_up() const { return raw_ < kMadeUpEnd || raw_ >= kPlaces; }

  // As it was in the register or on the stack.
  constexpr std::uintptr_t raw() const { return raw_; }

  // An address inside the instruction that is executing: for symbols, and what profiles carry.
  constexpr std::uintptr_t lookup() const { return raw_ - back_; }

  friend constexpr auto operator<=>(const FrameAddress&, const FrameAddress&) = default;

 private:
  static constexpr std::uintptr_t kMadeUpFirst = 256;
  static constexpr std::uintptr_t kMadeUpEnd = 512;
  static constexpr std::uintptr_t kPlaces = std::uintptr_t{1} << 63;

  constexpr FrameAddress(std::uintptr_t raw, std::uint8_t back) : raw_(raw), back_(back) {}

  std::uintptr_t raw_ = 0;
  std::uint8_t back_ = 0;  // 1 for a return address
};

// Why a walk ended.
enum class StackEnd : std::uint8_t {
  kComplete,      // the thread's first frame: the unwind information says that there is no caller
  kTruncated,     // the copy of the stack, or the number of frames asked for, ended first
  kNoUnwindInfo,  // an address outside every module, or code without unwind information
  kBadMemory,     // a word that the walk needed could not be read
  kNotWalked,     // no capture: see the capture's failure
};

// Frames, innermost first.
struct Stack {
  std::vector<FrameAddress> frames;
  StackEnd end = StackEnd::kNotWalked;

  friend bool operator==(const Stack&, const Stack&) = default;
};

}  // namespace vigil::sampler
