// The memory that the signal handler and the collectors share: slots for requested captures, slots
// for CPU samples, sessions of CPU profiles, counters. One mapping, made by SignalChannel, nothing
// in it is ever moved.
//
// A slot's whole protocol is in one atomic word, `state | owner << 8`, so that one
// compare-and-exchange both changes the state and proves the owner (a request's generation, or the
// index of a profile's session). What the slot carries is plain data: it belongs to whoever the
// state says, and the word's release and acquire order it. No fences: g++'s ThreadSanitizer does
// not model them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "sampler/sigsafe/atomic_bits.h"
#include "sampler/sigsafe/thread_work.h"

namespace vigil::sampler::sigsafe {

// Bytes of stack that a slot takes. 64 KiB cost 2.4 us to copy, and hold 99 of 100 stacks whole.
inline constexpr std::size_t kStackCopyMax = 64 * 1024;
// Copied where neither the thread pointer nor the main thread's stack says where the stack ends (a
// coroutine's, an alternate signal stack).
inline constexpr std::size_t kStackCopyUnknown = 16 * 1024;
// A stack end further than this above rsp is taken to be another stack's.
inline constexpr std::size_t kStackReach = 64 * 1024 * 1024;
inline constexpr std::uint32_t kSessionsMax = 16;
// Slots for samples, at the most.
inline constexpr std::size_t kSampleSlotsMax = 4096;
// Slots that a timer's handler looks at before it counts its sample as lost.
inline constexpr std::uint32_t kProbesMax = 64;
inline constexpr std::size_t kRegisterSlots = 17;

enum class SlotState : std::uint8_t {
  kFree,  // -> kRequested by the collector, before the signal is queued; -> kWriting by a timer's
          // handler
  kRequested,  // -> kWriting by the target's handler; -> kRevoked by the collector on deadline; ->
               // kFree by the collector
               //    when the target is gone and the signal with it
  kWriting,  // -> kDone by the handler; -> kRevoked by the collector when the handler does not come
             // to its end
  kDone,     // -> kFree by the collector, after it has used the slot
  kRevoked,  // -> kFree by the handler, when the late signal arrives or the late copy ends; or by
             // the collector when the
             //    thread is gone. Parked until then: a late signal must not meet the slot's next
             //    use
};

using SlotWord = std::uint64_t;
inline constexpr SlotWord slot_word(SlotState state, std::uint64_t owner) {
  return owner << 8 | static_cast<SlotWord>(state);
}
inline constexpr SlotState slot_state(SlotWord word) { return static_cast<SlotState>(word & 0xff); }
inline constexpr std::uint64_t slot_owner(SlotWord word) { return word >> 8; }

// What a handler writes between kWriting and kDone.
struct Slot {
  std::atomic<SlotWord> word{0};
  std::int32_t tid = 0;
  std::uint32_t weight = 0;      // samples: 1 + si_overrun
  std::uint64_t stack_base = 0;  // address of stack[0]: rsp less the red zone
  std::uint64_t stack_bytes = 0;
  std::uint64_t stack_end = 0;   // first address above the stack, 0 if unknown
  std::uint64_t handler_ns = 0;  // requested captures: how long the handler kept the thread
  std::array<std::uint64_t, kRegisterSlots>
      registers{};  // DWARF order: rax rdx rcx rbx rsi rdi rbp rsp r8..r15 rip
  // What the thread worked on. Holds a reference to its labels, which is given back before the slot
  // is free.
  WorkMark work;
  std::byte* stack = nullptr;  // kStackCopyMax bytes, set once

  // The transitions. Each returns whether it happened; see SlotState.
  [[gnu::always_inline]] bool move(SlotState from, SlotState to, std::uint64_t owner) noexcept {
    SlotWord expected = slot_word(from, owner);
    return word.compare_exchange_strong(expected, slot_word(to, owner), std::memory_order_acq_rel,
                                        std::memory_order_acquire);
  }
  // Takes a free slot, whoever had it before.
  [[gnu::always_inline]] bool claim(SlotState to, std::uint64_t owner) noexcept {
    SlotWord found = word.load(std::memory_order_acquire);
    return slot_state(found) == SlotState::kFree &&
           word.compare_exchange_strong(found, slot_word(to, owner), std::memory_order_acq_rel,
                                        std::memory_order_acquire);
  }
};

// One running CPU profile.
//   kFree(0) -> its generation, by open_session; -> kClosing by close_session, which waits for
//   `writers` to be 0.
struct Session {
  std::atomic<std::uint64_t> generation{0};  // 0: none
  std::atomic<std::uint32_t> writers{
      0};  // handlers between their look at `generation` and the end of their copy
  std::atomic<std::uint64_t> lost{0};  // weight of samples that found no slot
};

struct Counters {
  std::atomic<std::uint64_t> captures{0};
  std::atomic<std::uint64_t> captures_late{0};
  std::atomic<std::uint64_t> samples{0};
  std::atomic<std::uint64_t> samples_lost{0};
  std::atomic<std::uint64_t> samples_late{0};
  std::atomic<std::uint64_t> foreign{0};
};

struct Tables {
  std::int32_t pid = 0;  // the process that installed; a forked child is none of our business
  std::int32_t signal_number = 0;
  std::atomic<std::uint64_t> main_stack_end{0};
  std::span<Slot> captures;
  std::span<Slot> samples;
  std::size_t mapping_bytes = 0;

  std::atomic<std::uint32_t> capture_events{0};   // a futex: +1 for each capture that became kDone
  std::atomic<std::uint32_t> capture_waiters{0};  // collectors that sleep on it
  std::atomic<std::uint32_t> sample_cursor{
      0};  // where the next handler begins to look for a free slot
  // Those of `samples` that have become kDone, by their position: set by the handler after that,
  // removed by the collector before it frees the slot. Looking at each slot would take a collector
  // longer than what it finds there.
  AtomicBits<kSampleSlotsMax> samples_done;
  std::atomic<std::uint64_t> next_generation{1};
  std::atomic<std::uint32_t> timers_armed{0};  // nonzero once any CPU timer of ours existed
  std::array<Session, kSessionsMax> sessions;
  Counters counters;
};

// Set in SignalValue::index when a CPU timer, not a queued signal, asks for a capture.
inline constexpr std::uint32_t kTimerCaptureBit = 0x8000;

// What si_value carries: an index and a generation, never a pointer (a foreign sigqueue could make
// us follow it).
struct SignalValue {
  std::uint32_t index = 0;
  std::uint64_t generation = 0;
};
inline constexpr std::uint64_t pack_value(SignalValue value) {
  return value.generation << 16 | (value.index & 0xffff);
}
inline constexpr SignalValue unpack_value(std::uint64_t packed) {
  return {static_cast<std::uint32_t>(packed & 0xffff), packed >> 16};
}

}  // namespace vigil::sampler::sigsafe
