#include "sampler/contention/tables_setup.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "sampler/contention/wait_recorder.h"
#include "sampler/memory_reader.h"
#include "sampler/registers.h"
#include "sampler/sparse_memory.h"

namespace vigil::sampler::contention {
namespace {

// In the order of WaitSlot::registers.
constexpr std::array<Register, 8> kPreserved = {Register::kRbx, Register::kRbp, Register::kR12,
                                                Register::kR13, Register::kR14, Register::kR15,
                                                Register::kRsp, Register::kRip};
// Frames of ours between the capture and the interposed function's caller.
constexpr std::size_t kOwnFramesMax = 12;

// The child has one thread, and no collector.
void switch_off_in_child() {
  set_rate_in_effect(0);
  note_creations(false);
}

void forget_ended_thread(void* record) { forget_thread(*static_cast<ThreadRecord*>(record)); }

// The function that the call instruction before `return_address` calls; 0 if it is an indirect call,
// or none. Through a stub of the procedure linkage table it is the function behind the stub.
std::uintptr_t call_target(std::uintptr_t return_address) {
  struct [[gnu::packed]] RelativeCall {
    std::uint8_t opcode;
    std::int32_t offset;
  };
  constexpr std::uint8_t kCallRelative = 0xE8;
  const auto call = read_object<RelativeCall>(return_address - sizeof(RelativeCall));
  if (!call || call->opcode != kCallRelative) return 0;
  const std::uintptr_t target =
      return_address + static_cast<std::uintptr_t>(std::intptr_t{call->offset});
  // jmp *offset(%rip), perhaps behind endbr64 and with a bnd prefix: x86-64 psABI, 5.2 and 13.
  struct [[gnu::packed]] Stub {
    std::uint16_t opcode;
    std::int32_t offset;
  };
  constexpr std::uint16_t kJumpIndirect = 0x25FF;
  for (const std::size_t prefix : {0, 4, 5}) {
    const auto stub = read_object<Stub>(target + prefix);
    if (!stub || stub->opcode != kJumpIndirect) continue;
    const std::uintptr_t next = target + prefix + sizeof(Stub);
    const auto slot = next + static_cast<std::uintptr_t>(std::intptr_t{stub->offset});
    return read_object<std::uintptr_t>(slot).value_or(0);
  }
  return target;
}

// A function of which only the entry is known. Old readers take one byte from every address that is
// looked up, and those of a raw stack take it from the address itself: both stay inside.
FrameAddress inside(std::uintptr_t entry) { return FrameAddress::return_address(entry + 2); }

// Leaves the interposed function and its callers of what begins with frames of ours. A function
// whose last call is the unlock jumps there, and its frame is gone: the destructor of a lock guard
// does just that, and it is the holder who would not be named. Its caller's call instruction still
// leads to it.
void trim_and_mend(const WaitSlot& slot, Stack& stack) {
  const auto begin = stack.frames.begin();
  const auto own_end =
      begin + static_cast<std::ptrdiff_t>(std::min(stack.frames.size(), kOwnFramesMax));
  auto caller = std::find_if(
      begin, own_end, [&slot](const FrameAddress& frame) { return frame.raw() == slot.caller; });
  if (caller == own_end || caller - begin < 2) return;
  const std::uintptr_t called = call_target(slot.caller);
  if (called != 0 && called != slot.leaf) *--caller = inside(called);
  *--caller = inside(slot.leaf);
  stack.frames.erase(begin, caller);
}

constexpr std::size_t kHeaderBytes = (sizeof(WaitTables) + 4095) / 4096 * 4096;

Result<WaitTables*> make_tables() {
  constexpr std::size_t kBytes = kHeaderBytes + kWaitSlots * kWaitStackBytesMax;
  void* const memory = map_sparse(kBytes);
  if (memory == nullptr) return Error::from_errno("mmap of the contention tables", errno);
  // No constructor: it would write the zeros that are there, and make 0.3 MiB of them memory.
  auto* const made = static_cast<WaitTables*>(memory);
  made->stacks = static_cast<std::byte*>(memory) + kHeaderBytes;
  made->free_slots.set_all();
  made->free_records.set_all();
  int failed = ::pthread_key_create(&made->thread_key, forget_ended_thread);
  if (failed == 0) failed = ::pthread_atfork(nullptr, nullptr, switch_off_in_child);
  if (failed != 0) {
    ::munmap(memory, kBytes);
    return Error::from_errno("preparing the contention profile", failed);
  }
  return made;
}

}  // namespace

Result<WaitTables*> prepare_tables() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (WaitTables* const made = tables.load(std::memory_order_acquire)) return made;
  Result<WaitTables*> made = make_tables();
  if (made) tables.store(*made, std::memory_order_release);
  return made;
}

Stack unwind_slot(const WaitSlot& slot, Unwinder& unwinder) {
  RegisterSet registers;
  for (std::size_t i = 0; i < kPreserved.size(); ++i) {
    registers.set(kPreserved[i], slot.registers[i]);
  }
  const StackCopy copy{slot.stack_base, {slot.stack, slot.stack_bytes}, slot.stack_end};
  Stack stack = unwinder.unwind(registers, copy, kFramesMax);
  trim_and_mend(slot, stack);
  return stack;
}

}  // namespace vigil::sampler::contention
