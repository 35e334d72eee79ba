// The memory that the interposed lock functions and the collector share: the switch, who waits for
// which lock, slots for captured stacks, and a record for each thread that was created.
//
// What writes here runs inside pthread_mutex_lock(), so also inside the allocator's and the
// loader's critical sections: no allocation, no lock that a program can hold, no lazily made
// thread-local. The collector (contention_profiler.h) is the only reader of stacks.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "sampler/sigsafe/atomic_bits.h"

namespace vigil::sampler::contention {

// What a thread waited for; kHolder and kThread are the two captures that are no waits.
enum class WaitKind : std::uint8_t {
  kMutex,
  kRwlock,
  kCondition,
  kSemaphore,
  kJoin,
  kHolder,  // the thread that let go of a mutex or rwlock while others waited for it
  kThread,  // the thread that called pthread_create
};
inline constexpr std::size_t kWaitKinds = 7;

// The bytes of stack that are copied: less than the signal handler's 64 KiB, because a waiter
// copies while it holds the lock that it has just got.
inline constexpr std::size_t kWaitStackBytesMax = 32 * 1024;
// Stacks between two drains of the collector (100 ms to 1 s, sooner when half of them are taken).
inline constexpr std::size_t kWaitSlots = 512;
inline constexpr std::size_t kThreadRecords = 8192;

using sigsafe::AtomicBits;

// A stack and what happened there. Belongs to the thread that took it from `free_slots` until it is
// in `done_slots`, then to the collector until it is free again.
struct WaitSlot {
  WaitKind kind = WaitKind::kMutex;
  double count = 0;           // waits that this stands for
  std::int64_t delay_ns = 0;  // the time that it stands for
  std::uint32_t record = 0;   // kThread: index and generation of the thread's record
  std::uint32_t generation = 0;
  // The interposed function, and where it returns to: the frames between are ours.
  std::uintptr_t leaf = 0;
  std::uintptr_t caller = 0;
  // rbx rbp r12 r13 r14 r15 rsp rip: all that a call preserves.
  std::array<std::uint64_t, 8> registers{};
  std::uintptr_t stack_base = 0;
  std::uintptr_t stack_end = 0;  // 0: unknown
  std::size_t stack_bytes = 0;
  std::byte* stack = nullptr;  // kWaitStackBytesMax, set by who takes the slot
};

// A thread that was created while creations were noted.
struct ThreadRecord {
  void* (*start)(void*) = nullptr;
  void* argument = nullptr;
  std::atomic<std::uint32_t> generation{
      0};                            // +1 when the record is taken and when it is given back
  std::atomic<std::int32_t> tid{0};  // 0: not running yet, or ended
};

// Counts since the process began; monotonic.
struct WaitCounters {
  std::array<std::atomic<std::uint64_t>, kWaitKinds> samples{};
  std::atomic<std::uint64_t> samples_lost{0};    // no free slot
  std::atomic<std::uint64_t> lost_delay_ns{0};   // the time that they stood for
  std::atomic<std::uint64_t> waiters_unseen{0};  // waits that no holder was charged for: table full
  std::atomic<std::uint64_t> handoff_ns{0};  // from a lock's release to its next owner: nobody's
  std::atomic<std::uint64_t> threads_unseen{0};  // threads without a record: table full
};

// One mapping, made at the first enable() and kept until the process ends: a hook may be writing. All zeros at first, so that
// what is not used is no memory.
struct WaitTables {
  AtomicBits<kWaitSlots> free_slots;
  AtomicBits<kWaitSlots> done_slots;
  AtomicBits<kThreadRecords> free_records;
  std::array<WaitSlot, kWaitSlots> slots;
  std::byte* stacks;  // kWaitStackBytesMax for each slot
  std::array<ThreadRecord, kThreadRecords> records;
  pthread_key_t thread_key = 0;  // its destructor gives the record of a thread back
  // A futex: hooks add 1 and wake the collector when half of the slots are taken.
  std::atomic<std::uint32_t> half_full{0};
};

// Reached by every lock of the program; owned by ContentionProfiler. Hidden: no detour through the
// global offset table.
#define VIGIL_HIDDEN __attribute__((visibility("hidden")))
// Nanoseconds of waiting for each sample, as in effect now; 0: off. A plain word, read and written
// with __atomic_load_n and __atomic_store_n: the hooks' first instruction may belong to no inlined
// function (lock_hooks.cc).
extern constinit std::int64_t gate_rate_ns VIGIL_HIDDEN;
// Whether pthread_create notes its callers; likewise.
extern constinit std::int32_t gate_threads VIGIL_HIDDEN;
extern constinit WaitCounters counters VIGIL_HIDDEN;
// Null until the first enable().
extern constinit std::atomic<WaitTables*> tables VIGIL_HIDDEN;

// For everybody but the hooks.
inline std::int64_t rate_in_effect() noexcept {
  return __atomic_load_n(&gate_rate_ns, __ATOMIC_RELAXED);
}
inline void set_rate_in_effect(std::int64_t rate_ns) noexcept {
  __atomic_store_n(&gate_rate_ns, rate_ns, __ATOMIC_RELAXED);
}
inline void note_creations(bool on) noexcept {
  __atomic_store_n(&gate_threads, on ? 1 : 0, __ATOMIC_RELAXED);
}

}  // namespace vigil::sampler::contention
