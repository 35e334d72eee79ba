#include "sampler/sigsafe/heap_recorder.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include "sampler/sigsafe/errno_guard.h"
#include "sampler/sigsafe/raw_syscall.h"
#include "sampler/sigsafe/self_memory.h"

namespace vigil::sampler::sigsafe {

constinit HeapRecorder heap_recorder;
constinit thread_local HeapCountdown heap_countdown __attribute__((tls_model("initial-exec")));

namespace {

// How many bytes a thread allocates before it looks again whether recording is on.
constexpr std::uint64_t kQuietStep = 256 * 1024;
// When every slot is full, the thread waits for the collector, this often and this long: it allocates gigabytes a second, and
// each sample stands for half a megabyte of them. Bounded, because the collector may be waiting for a lock of this thread's.
constexpr int kSlotWaits = 4;
constexpr long kSlotWaitNs = 50'000;

std::uint64_t next_random(HeapCountdown& countdown) noexcept {
  // xorshift64 (Marsaglia 2003). Seeded by the thread's place and a global number, through a finalizer of MurmurHash3, so
  // that threads do not sample in step.
  std::uint64_t x = countdown.random;
  if (x == 0) {
    x = thread_pointer() ^ heap_recorder.last_ticket.fetch_add(1) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) | 1;
  }
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  countdown.random = x;
  return x;
}

// kHeapSlots: none.
std::size_t claim_slot() noexcept {
  if (heap_recorder.slots.load(std::memory_order_acquire) == nullptr) return kHeapSlots;
  for (int waits = 0; waits < kSlotWaits; ++waits) {
    const std::size_t number = heap_recorder.free_slots.take_lowest();
    if (number != kHeapSlots) return number;
    if (heap_recorder.interval.load(std::memory_order_relaxed) == 0) return kHeapSlots;
    wake_collector();
    const timespec pause{0, kSlotWaitNs};
    raw_syscall(SYS_nanosleep, reinterpret_cast<long>(&pause));
  }
  return heap_recorder.free_slots.take_lowest();
}

void count_lost(std::uint64_t bytes, int shift) noexcept {
  heap_recorder.lost[static_cast<std::size_t>(shift)][size_bits(bytes)].fetch_add(1);
}

void publish(std::size_t number) noexcept {
  heap_recorder.done_slots.set(number);
  const std::uint32_t done = heap_recorder.done.fetch_add(1) + 1;
  if (done >= kHeapWakeAt && done % 16 == 0) wake_collector();
}

// By how much `interval` is coarser than what was asked for; kNoSample: that has changed meanwhile.
int shift_of(std::uint64_t interval) noexcept {
  const std::uint64_t base = heap_recorder.base.load(std::memory_order_relaxed);
  for (std::uint32_t shift = 0; shift < kShifts; ++shift) {
    if (base << shift == interval) return static_cast<int>(shift);
  }
  return kNoSample;
}

// The end of the stack that `sp` is on, as for CPU samples (handler.cc).
std::uint64_t stack_end_above(std::uintptr_t sp) noexcept {
  const std::uintptr_t thread = thread_pointer();
  if (thread > sp && thread - sp <= kStackReach) return thread;
  const std::uint64_t main_end = heap_recorder.main_stack_end.load(std::memory_order_relaxed);
  return main_end > sp && main_end - sp <= kStackReach ? main_end : 0;
}

// In the caller's frame: that must not return, nor be changed, before the stack is copied. What unwinding needs: the
// registers that a function keeps for its caller, and where we are (System V ABI, figure 3.4).
[[gnu::always_inline]] inline void read_registers(
    std::array<std::uint64_t, kRegisterSlots>& registers) noexcept {
  __asm__ volatile(
      "movq %%rbx, 24(%0)\n\t"
      "movq %%rbp, 48(%0)\n\t"
      "movq %%rsp, 56(%0)\n\t"
      "movq %%r12, 96(%0)\n\t"
      "movq %%r13, 104(%0)\n\t"
      "movq %%r14, 112(%0)\n\t"
      "movq %%r15, 120(%0)\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "movq %%rax, 128(%0)\n"
      "1:"
      :
      : "r"(registers.data())
      : "rax", "memory");
}

}  // namespace

std::uint64_t exponential(std::uint64_t random, std::uint64_t mean) noexcept {
  // -ln(u) for u = random / 2^64: the exponent is the number of leading zeros, the logarithm of the mantissa m in [1, 2) is
  // 2 atanh((m - 1) / (m + 1)), five terms of which are exact to 1e-6. libm's log() is not ours to call from malloc.
  random |= 1;
  const int zeros = __builtin_clzll(random);
  const double m = static_cast<double>(random << zeros >> 11) * 0x1p-52;
  const double t = (m - 1) / (m + 1);
  const double s = t * t;
  const double ln_m = 2 * t * (1 + s * (1.0 / 3 + s * (1.0 / 5 + s * (1.0 / 7 + s / 9))));
  const double minus_ln_u = (zeros + 1) * 0.6931471805599453 - ln_m;
  return static_cast<std::uint64_t>(minus_ln_u * static_cast<double>(mean)) + 1;
}

int countdown_ended(std::uint64_t bytes) noexcept {
  HeapCountdown& countdown = heap_countdown;
  const std::uint64_t interval = heap_recorder.interval.load(std::memory_order_relaxed);
  if (interval == 0) {
    countdown.interval = 0;
    countdown.left = kQuietStep;
    return kNoSample;
  }
  const int shift = shift_of(countdown.interval);
  countdown.interval = interval;
  countdown.left = exponential(next_random(countdown), interval);
  if (shift != kNoSample) return shift;
  // What was left was for something else: this allocation is the first of a new countdown.
  if (bytes <= countdown.left) {
    countdown.left -= bytes;
    return kNoSample;
  }
  countdown.left = exponential(next_random(countdown), interval);
  return shift_of(interval);
}

// noinline: one frame of its own, and its frame is the innermost that is captured.
__attribute__((noinline)) void record_allocation(const void* object, std::uint64_t bytes,
                                                 int shift) noexcept {
  const ErrnoGuard errno_guard;
  if (heap_recorder.interval.load(std::memory_order_relaxed) == 0) return;
  const std::uint64_t ticket = heap_recorder.last_ticket.fetch_add(1) + 1;
  const std::size_t number = claim_slot();
  const bool is_lost = number == kHeapSlots;
  // Before the slot is published: the collector looks the object up.
  const std::uint64_t bucket =
      is_lost ? kBucketLost + static_cast<std::uint64_t>(shift) : kBucketPending;
  if (!heap_recorder.live.insert(object, bytes, mark_of(ticket, bucket))) {
    heap_recorder.untracked.fetch_add(1);
  }
  if (is_lost) return count_lost(bytes, shift);
  HeapSlot& slot = heap_recorder.slots.load(std::memory_order_relaxed)[number];
  slot.ticket = ticket;
  slot.object = object;
  slot.bytes = bytes;
  slot.shift = static_cast<std::uint32_t>(shift);
  slot.walked = 0;
  read_registers(slot.registers);
  const std::uint64_t sp = slot.registers[7];
  slot.stack_base = sp;
  slot.stack_end = stack_end_above(sp);
  std::uint64_t copied = slot.stack_end != 0 ? slot.stack_end - sp : kStackCopyUnknown;
  if (copied > kHeapStackMax) copied = kHeapStackMax;
  slot.stack_bytes = copy_memory(sp, stack_of(number), copied);
  publish(number);
}

void record_walked(std::uint64_t bytes, std::span<void* const> frames) noexcept {
  const ErrnoGuard errno_guard;
  if (heap_recorder.interval.load(std::memory_order_relaxed) == 0) return;
  const std::size_t number = claim_slot();
  if (number == kHeapSlots) return count_lost(bytes, 0);
  HeapSlot& slot = heap_recorder.slots.load(std::memory_order_relaxed)[number];
  slot.object = nullptr;
  slot.bytes = bytes;
  slot.shift = 0;
  slot.walked = 0;
  for (void* frame : frames) {
    if (slot.walked == kWalkedFramesMax) break;
    slot.frames[slot.walked++] = reinterpret_cast<std::uintptr_t>(frame);
  }
  publish(number);
}

void wait_for_wake(std::uint32_t seen, std::uint64_t timeout_ns) noexcept {
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000u);
  timeout.tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000u);
  raw_syscall(SYS_futex, reinterpret_cast<long>(&heap_recorder.wakes), FUTEX_WAIT_PRIVATE, seen,
              reinterpret_cast<long>(&timeout));
}

void wake_collector() noexcept {
  heap_recorder.wakes.fetch_add(1);
  raw_syscall(SYS_futex, reinterpret_cast<long>(&heap_recorder.wakes), FUTEX_WAKE_PRIVATE,
              0x7fffffff);
}

}  // namespace vigil::sampler::sigsafe
