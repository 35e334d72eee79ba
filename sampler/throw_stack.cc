#include "sampler/throw_stack.h"

#include <dlfcn.h>
#include <unwind.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <typeinfo>

namespace vigil::sampler {
namespace {

// One throw. `ticket` is odd while the slot is written, and 2 n + 2 when it holds the n-th throw;
// fields are atomics because a reader may look while a later throw writes (see
// leakwatch/task_registry.h for the same protocol).
struct Slot {
  std::atomic<std::uint64_t> ticket{0};
  std::atomic<const void*> object{nullptr};
  std::atomic<std::uint32_t> count{0};
  std::atomic<bool> complete{false};
  std::array<std::atomic<std::uintptr_t>, kThrowFramesMax> return_addresses{};
};

constinit std::array<Slot, kThrowsMax> slots{};
constinit std::atomic<std::uint64_t> next_throw{0};

struct Walk {
  Slot& slot;
  std::uint32_t frames_seen = 0;
  std::uint32_t count = 0;
  bool complete = false;
};

_Unwind_Reason_Code note_frame(_Unwind_Context* context, void* argument) {
  Walk& walk = *static_cast<Walk*>(argument);
  // The first frames are ours: record_throw() and __cxa_throw(), neither of them inlined.
  constexpr std::uint32_t kOwnFrames = 2;
  if (walk.frames_seen++ < kOwnFrames) return _URC_NO_REASON;
  if (walk.count == kThrowFramesMax) return _URC_NORMAL_STOP;
  const std::uintptr_t address = _Unwind_GetIP(context);
  if (address == 0) {
    walk.complete = true;  // the caller of a thread's first function
    return _URC_NORMAL_STOP;
  }
  walk.slot.return_addresses[walk.count++].store(address, std::memory_order_release);
  return _URC_NO_REASON;
}

// A slot that a slower thread is still writing (kThrowsMax throws ago) is left to it: this throw
// then has no stack.
__attribute__((noinline)) void record_throw(const void* object) noexcept {
  const std::uint64_t number = next_throw.fetch_add(1, std::memory_order_relaxed);
  Slot& slot = slots[number % kThrowsMax];
  std::uint64_t before = slot.ticket.load(std::memory_order_relaxed);
  if (before % 2 != 0 || !slot.ticket.compare_exchange_strong(before, 2 * number + 1)) return;
  slot.object.store(object, std::memory_order_release);
  Walk walk{slot};
  const _Unwind_Reason_Code end = _Unwind_Backtrace(note_frame, &walk);
  slot.count.store(walk.count, std::memory_order_release);
  slot.complete.store(walk.complete || end == _URC_END_OF_STACK, std::memory_order_release);
  slot.ticket.store(2 * number + 2, std::memory_order_release);
}

// The exception object that the pointer holds. libstdc++'s exception_ptr is exactly that pointer;
// it has no public access to it.
const void* object_of(const std::exception_ptr& exception) {
  static_assert(sizeof(std::exception_ptr) == sizeof(void*));
  const void* object = nullptr;
  std::memcpy(&object, &exception, sizeof(object));
  return object;
}

bool read_slot(const Slot& slot, const void* object, Stack& stack, std::uint64_t& ticket) {
  const std::uint64_t before = slot.ticket.load(std::memory_order_acquire);
  // A later throw may have got the memory of an earlier one: the latest counts.
  if (before == 0 || before % 2 != 0 || before <= ticket) return false;
  if (slot.object.load(std::memory_order_acquire) != object) return false;
  Stack found;
  const std::uint32_t count = slot.count.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count && i < kThrowFramesMax; ++i) {
    found.frames.push_back(
        FrameAddress::return_address(slot.return_addresses[i].load(std::memory_order_acquire)));
  }
  found.end =
      slot.complete.load(std::memory_order_acquire) ? StackEnd::kComplete : StackEnd::kTruncated;
  if (slot.ticket.load(std::memory_order_acquire) != before) return false;
  stack = std::move(found);
  ticket = before;
  return true;
}

}  // namespace

Stack throw_stack_of(const std::exception_ptr& exception) {
  Stack stack;
  const void* object = object_of(exception);
  if (object == nullptr) return stack;
  std::uint64_t ticket = 0;
  for (const Slot& slot : slots) (void)read_slot(slot, object, stack, ticket);
  return stack;
}

}  // namespace vigil::sampler

// What a throw expression calls (Itanium C++ ABI, 2.4.3). Being in the executable, it comes before
// libstdc++'s for the executable and for every shared library.
extern "C" __attribute__((noinline, noreturn, visibility("default"))) void __cxa_throw(
    void* object, std::type_info* type, void (*destroy)(void*)) {
  using Throw = void (*)(void*, std::type_info*, void (*)(void*));
  static const Throw runtime_throw = reinterpret_cast<Throw>(::dlsym(RTLD_NEXT, "__cxa_throw"));
  vigil::sampler::record_throw(object);
  if (runtime_throw != nullptr) runtime_throw(object, type, destroy);
  std::abort();  // no C++ runtime behind us: nothing could be thrown at all
}
