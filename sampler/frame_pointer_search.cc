#include "sampler/frame_pointer_search.h"

#include <cstring>

namespace vigil::sampler {
namespace {

constexpr std::size_t kWord = sizeof(std::uintptr_t);
// Links of the chain behind an indirect call that must hold.
constexpr int kLinksMax = 2;

struct Bytes {
  std::uint8_t at[kWord] = {};
};

std::optional<Bytes> code_bytes(std::uintptr_t address, CodeOracle& code) {
  const auto word = code.read_word(address);
  if (!word) return std::nullopt;
  Bytes bytes;
  std::memcpy(bytes.at, &*word, kWord);
  return bytes;
}

// ff with 2 in the middle bits of ModRM, ending at offset 8 of `before`: the length follows from
// ModRM and SIB (Intel SDM vol. 2, table 2-2). A prefix (REX) in front does not matter.
bool ends_with_indirect_call(const Bytes& before) {
  for (std::size_t length = 2; length <= 7; ++length) {
    const std::uint8_t* at = before.at + kWord - length;
    if (at[0] != 0xff || (at[1] >> 3 & 7) != 2) continue;
    const unsigned mode = at[1] >> 6;
    const unsigned base = at[1] & 7;
    const bool has_sib = mode != 3 && base == 4;
    std::size_t expected = 2 + (has_sib ? 1u : 0u);
    if (mode == 1) expected += 1;
    if (mode == 2 || (mode == 0 && base == 5)) expected += 4;
    if (has_sib && mode == 0 && length > 2 && (at[2] & 7) == 5) expected += 4;
    if (expected == length) return true;
  }
  return false;
}

// mov $15,%rax; syscall: rt_sigreturn, where a signal handler returns to. gdb and libunwind know it
// by these bytes too.
bool is_signal_trampoline(std::uintptr_t address, CodeOracle& code) {
  constexpr std::uint8_t kReturn[kWord] = {0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f};
  if (!code.is_code(address)) return false;
  const auto bytes = code_bytes(address, code);
  return bytes && std::memcmp(bytes->at, kReturn, sizeof kReturn) == 0;
}

// A saved rbp is a stack address above its own slot, aligned; 0 ends the chain (the first
// function's caller).
bool plausible_link(std::uintptr_t saved, std::uintptr_t slot, const StackCopy& stack) {
  if (saved == 0) return true;
  const std::uintptr_t top = stack.stack_end != 0 ? stack.stack_end : stack.end();
  return saved % kWord == 0 && saved > slot && saved < top;
}

// Whether the chain at `link` goes on with pairs, up to kLinksMax of them, or ends.
bool chain_holds(std::uintptr_t link, const StackCopy& stack, CodeOracle& code) {
  for (int i = 0; i < kLinksMax && link != 0; ++i) {
    const auto saved = stack.word_at(link);
    const auto back = stack.word_at(link + kWord);
    if (!saved || !back) return false;
    if (is_signal_trampoline(*back, code)) return true;
    if (!plausible_link(*saved, link, stack)) return false;
    if (call_before(*back, code).kind == CallKind::kNone) return false;
    link = *saved;
  }
  return true;
}

}  // namespace

CallBefore call_before(std::uintptr_t return_address, CodeOracle& code) {
  if (return_address < kWord || !code.is_code(return_address - 1)) return {};
  const auto before = code_bytes(return_address - kWord, code);
  if (!before) return {};
  constexpr std::size_t kDirectBytes = 5;
  if (before->at[kWord - kDirectBytes] == 0xe8) {
    std::int32_t offset = 0;
    std::memcpy(&offset, before->at + kWord - 4, sizeof offset);
    const std::uintptr_t target =
        return_address + static_cast<std::uintptr_t>(std::intptr_t{offset});
    if (code.is_code(target)) return {CallKind::kDirect, target};
  }
  if (ends_with_indirect_call(*before)) return {CallKind::kIndirect, 0};
  return {};
}

std::optional<std::uintptr_t> plt_target(std::uintptr_t address, CodeOracle& code) {
  constexpr std::uint8_t kEndbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};
  constexpr std::uint8_t kBnd = 0xf2;
  constexpr std::size_t kJumpBytes = 6;  // ff 25 rel32: jmp *rel32(%rip)
  auto bytes = code_bytes(address, code);
  if (bytes && std::memcmp(bytes->at, kEndbr64, sizeof kEndbr64) == 0) {
    address += sizeof kEndbr64;
    bytes = code_bytes(address, code);
  }
  if (bytes && bytes->at[0] == kBnd) bytes = code_bytes(++address, code);
  if (!bytes || bytes->at[0] != 0xff || bytes->at[1] != 0x25) return std::nullopt;
  std::int32_t offset = 0;
  std::memcpy(&offset, bytes->at + 2, sizeof offset);
  const auto word = address + kJumpBytes + static_cast<std::uintptr_t>(std::intptr_t{offset});
  return code.read_word(word);
}

std::optional<std::uintptr_t> find_frame_pointer(const StackCopy& stack, std::uintptr_t sp,
                                                 std::uintptr_t function_start, CodeOracle& code) {
  std::optional<std::uintptr_t> by_chain;
  const std::uintptr_t first = (sp + kWord - 1) / kWord * kWord;
  if (first < sp) return std::nullopt;
  for (std::uintptr_t slot = first;; slot += kWord) {
    const auto back = stack.word_at(slot + kWord);
    const auto saved = stack.word_at(slot);
    if (!back || !saved) return by_chain;
    // A signal handler's own frame; what is above was interrupted. Its saved rbp may be any value.
    if (is_signal_trampoline(*back, code)) return by_chain ? by_chain : slot;
    if (!plausible_link(*saved, slot, stack)) continue;
    const CallBefore call = call_before(*back, code);
    if (call.kind == CallKind::kDirect && function_start != 0 &&
        (call.target == function_start || plt_target(call.target, code) == function_start)) {
      return slot;
    }
    if (call.kind == CallKind::kIndirect && !by_chain && chain_holds(*saved, stack, code)) {
      by_chain = slot;
    }
  }
}

}  // namespace vigil::sampler
