// The half of the heap sampler that runs inside malloc and free. No allocation, no lock, no call out of this folder.
//
//   every allocation             one in 512 KiB                    the collector (heap_collector.h)
//   ────────────────             ──────────────                    ────────────────────────────────
//   countdown -= bytes ──ended──► a ticket; into LiveSamples
//                                a slot out of free_slots
//                                registers, stack copy;
//                                into done_slots ─────────────────► unwinds; finds the bucket (stack, size, interval);
//   free: may_hold()? ──maybe──► out of LiveSamples                 writes it beside the object, if it still lives;
//                                                                   back into free_slots
//
// A Poisson process over allocated bytes: the countdown is drawn from an exponential distribution, so an object of s bytes
// is sampled with probability 1 - e^(-s/R), whatever is allocated before and after it. Where that would be more samples than
// the collector may take, it makes R coarser, twice or more often by a factor of two (`shift`); each sample is
// counted with the R that its countdown was drawn for.
//
// Two sources feed it: malloc_interpose.cc (any allocator) through all of the above; tcmalloc_samples.cc through
// record_walked(), because tcmalloc counts down and keeps its live objects itself.
//
// One recorder in a process, because it is what every thread's malloc must reach without a look-up; HeapCollector owns it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "sampler/sigsafe/atomic_bits.h"
#include "sampler/sigsafe/live_samples.h"
#include "sampler/sigsafe/tables.h"

namespace vigil::sampler::sigsafe {

// A malloc deeper than this has its outer frames cut off, which the profile counts.
inline constexpr std::size_t kHeapStackMax = 32 * 1024;
inline constexpr std::size_t kHeapSlots = 1024;
// gperftools' own limit (src/common.h, kMaxStackDepth).
inline constexpr std::size_t kWalkedFramesMax = 31;
// Done slots at which the collector is woken. Few, because each that has been used keeps its pages:
// deep stacks of 20 KiB make these 0.7 MiB. The rest lasts until the collector runs.
inline constexpr std::uint32_t kHeapWakeAt = 32;

// The most that an interval is made coarser: by 2^(kShifts - 1).
inline constexpr std::uint32_t kShifts = kLostBuckets;

// What samples without a stack are counted by, 0 to kSizeBits - 1.
inline constexpr std::size_t kSizeBits = 65;
inline constexpr std::size_t size_bits(std::uint64_t bytes) {
  return bytes == 0 ? 0 : 64 - static_cast<std::size_t>(__builtin_clzll(bytes));
}

// Belongs to the thread that took it from `free_slots` until it is in `done_slots`, then to the collector until it is free
// again.
struct HeapSlot {
  std::uint64_t ticket = 0;
  const void* object = nullptr;
  std::uint64_t bytes = 0;
  std::uint32_t shift = 0;   // sampled at `base` << shift
  std::uint32_t walked = 0;  // frames in `frames`; 0: registers and stack instead
  std::array<std::uintptr_t, kWalkedFramesMax> frames{};
  std::array<std::uint64_t, kRegisterSlots>
      registers{};  // DWARF order; the callee-saved ones, rsp, rip
  std::uint64_t stack_base = 0;
  std::uint64_t stack_bytes = 0;
  std::uint64_t stack_end = 0;  // 0 if unknown
};

// What allocating threads and the collector share.
struct HeapRecorder {
  std::atomic<std::uint64_t> interval{0};   // mean bytes between samples; 0: nothing is recorded
  std::atomic<std::uint64_t> base{0};       // as asked for: `interval` is base << shift
  std::atomic<const void*> owner{nullptr};  // the collector that has it
  std::atomic<std::uint64_t> numbering{0};  // which collector's bucket numbers are in `live`
  // kHeapSlots of them, and the memory of their stacks (kHeapStackMax each): made once, and kept.
  std::atomic<HeapSlot*> slots{nullptr};
  std::atomic<std::byte*> stacks{nullptr};
  std::atomic<std::uint64_t> main_stack_end{0};
  // Nothing here begins with another value than zero: 3 MiB of zeros are not in the file, and not in memory until used.
  std::atomic<std::uint64_t> last_ticket{0};
  AtomicBits<kHeapSlots> free_slots;
  AtomicBits<kHeapSlots> done_slots;
  std::atomic<std::uint32_t> done{0};   // members of done_slots
  std::atomic<std::uint32_t> wakes{0};  // a futex: +1 when the collector should come
  // Samples without a free slot, by interval and by the number of bits of their size: a count for each, so that the
  // profile's totals stay right and never decrease.
  std::array<std::array<std::atomic<std::uint64_t>, kSizeBits>, kShifts> lost{};
  std::atomic<std::uint64_t> untracked{
      0};  // samples without a place in `live`: missing from the in-use columns
  LiveSamples live;
};
// Hidden: no detour through the global offset table.
extern constinit HeapRecorder heap_recorder __attribute__((visibility("hidden")));

// Bytes that the calling thread allocates until its next sample.
struct HeapCountdown {
  std::uint64_t left = 0;
  std::uint64_t random = 0;
  std::uint64_t interval = 0;  // that `left` was drawn for; 0: recording was off
};
extern constinit thread_local HeapCountdown heap_countdown
    __attribute__((tls_model("initial-exec")));

// Whether the allocation of `bytes` must go through countdown_ended(), or back by count_up(): `left` is below zero then.
// Cost: one subtraction in memory, and a branch on its borrow.
[[gnu::always_inline]] inline bool count_down(std::uint64_t bytes) noexcept {
  return __builtin_sub_overflow(heap_countdown.left, bytes, &heap_countdown.left);
}
// There was no memory: nothing has been allocated.
inline void count_up(std::uint64_t bytes) noexcept { heap_countdown.left += bytes; }

// Draws the next countdown. Not negative: this allocation is a sample, taken at `base` << that, to be given to
// record_allocation().
inline constexpr int kNoSample = -1;
int countdown_ended(std::uint64_t bytes) noexcept;

// Records a sampled object that the program does not have yet, with the caller's stack. Cost: 1 to 2 us; up to 0.4 ms where
// every slot is full.
void record_allocation(const void* object, std::uint64_t bytes, int shift) noexcept;

// Records a sampled allocation whose return addresses are known; live objects are the allocator's business.
void record_walked(std::uint64_t bytes, std::span<void* const> frames) noexcept;

// Before the object is freed or moved. True if it was a sample.
[[gnu::always_inline]] inline bool record_free(const void* object) noexcept {
  return heap_recorder.live.may_hold(object) && heap_recorder.live.remove(object);
}

// Where the stack of that slot is copied to.
[[gnu::always_inline]] inline std::byte* stack_of(std::size_t number) noexcept {
  return heap_recorder.stacks.load(std::memory_order_relaxed) + number * kHeapStackMax;
}

// Sleeps until the collector should come, or for `timeout_ns`. `seen`: the value of `wakes` before the last look.
void wait_for_wake(std::uint32_t seen, std::uint64_t timeout_ns) noexcept;
void wake_collector() noexcept;

// An exponentially distributed number with that mean, at least 1. Public for its test.
std::uint64_t exponential(std::uint64_t random, std::uint64_t mean) noexcept;

}  // namespace vigil::sampler::sigsafe
