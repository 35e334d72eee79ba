#include "sampler/contention/wait_recorder.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "sampler/contention/ticks.h"
#include "sampler/own_wait.h"
#include "sampler/sigsafe/raw_syscall.h"
#include "sampler/sigsafe/self_memory.h"
#include "sampler/trace/trace_buffer.h"

namespace vigil::sampler::contention {

alignas(64) constinit std::int64_t gate_rate_ns = 0;
constinit std::int32_t gate_threads = 0;
constinit WaitCounters counters;
constinit std::atomic<WaitTables*> tables{nullptr};
constinit WaiterTable waiters;
constinit std::atomic<std::uint64_t> ns_per_tick{0};

namespace {

// In the thread's static block: the first touch of any other kind may allocate.
#define VIGIL_STATIC_THREAD_LOCAL __attribute__((tls_model("initial-exec"))) constinit thread_local
VIGIL_STATIC_THREAD_LOCAL int hook_depth = 0;
VIGIL_STATIC_THREAD_LOCAL std::uint64_t random_state = 0;

// A stack end further than this above rsp is taken to be another stack's, see sigsafe/tables.h.
constexpr std::size_t kReach = 64 * 1024 * 1024;
constexpr std::size_t kCopyWhereEndUnknown = 16 * 1024;

std::int64_t now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

// In a trace.
std::string_view wait_name(WaitKind kind) noexcept {
  switch (kind) {
    case WaitKind::kMutex:
      return "wait for a mutex";
    case WaitKind::kRwlock:
      return "wait for a rwlock";
    case WaitKind::kCondition:
      return "wait for a condition";
    case WaitKind::kSemaphore:
      return "wait for a semaphore";
    case WaitKind::kJoin:
      return "wait for a thread's end";
    case WaitKind::kHolder:
    case WaitKind::kThread:
      break;  // no waits
  }
  return "wait";
}

// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
std::uint64_t random_number() noexcept {
  if (random_state == 0) {
    const auto thread = static_cast<std::uint64_t>(sigsafe::thread_pointer());
    random_state = (thread ^ static_cast<std::uint64_t>(now_ns())) | 1;
  }
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return random_state * 0x2545F4914F6CDD1Du;
}

// The registers as they are here, then the stack above. What the copy's frames say of this
// function stays true while it runs: it changes nothing above its own stack pointer.
__attribute__((noinline)) void capture_stack(WaitSlot& slot) noexcept {
  asm volatile(
      "movq %%rbx, 0(%0)\n\t"
      "movq %%rbp, 8(%0)\n\t"
      "movq %%r12, 16(%0)\n\t"
      "movq %%r13, 24(%0)\n\t"
      "movq %%r14, 32(%0)\n\t"
      "movq %%r15, 40(%0)\n\t"
      "movq %%rsp, 48(%0)\n\t"
      "leaq 0(%%rip), %%rax\n\t"
      "movq %%rax, 56(%0)"
      :
      : "r"(slot.registers.data())
      : "rax", "memory");
  const auto sp = static_cast<std::uintptr_t>(slot.registers[6]);
  const std::uintptr_t thread = sigsafe::thread_pointer();
  slot.stack_base = sp;
  slot.stack_end = thread > sp && thread - sp <= kReach ? thread : 0;
  const std::size_t bytes = slot.stack_end != 0 ? slot.stack_end - sp : kCopyWhereEndUnknown;
  slot.stack_bytes = sigsafe::copy_memory(sp, slot.stack, std::min(bytes, kWaitStackBytesMax));
}

void wake_collector(WaitTables& shared) noexcept {
  shared.half_full.fetch_add(1);
  sigsafe::raw_syscall(SYS_futex, reinterpret_cast<long>(&shared.half_full), FUTEX_WAKE_PRIVATE, 1);
}

struct Amount {
  double count = 0;
  std::int64_t delay_ns = 0;
};

// Returns the slot's number; the caller publishes it. kNone: lost, and counted.
std::size_t fill_slot(WaitTables& shared, const Site& site, Amount amount) noexcept {
  const std::size_t number = shared.free_slots.take_lowest();
  if (number == kWaitSlots) {
    counters.samples_lost.fetch_add(1, std::memory_order_relaxed);
    counters.lost_delay_ns.fetch_add(static_cast<std::uint64_t>(amount.delay_ns),
                                     std::memory_order_relaxed);
    return number;
  }
  WaitSlot& slot = shared.slots[number];
  slot.stack = shared.stacks + number * kWaitStackBytesMax;
  slot.kind = site.kind;
  slot.count = amount.count;
  slot.delay_ns = amount.delay_ns;
  slot.leaf = site.leaf;
  slot.caller = site.caller;
  capture_stack(slot);
  counters.samples[static_cast<std::size_t>(site.kind)].fetch_add(1, std::memory_order_relaxed);
  return number;
}

void publish(WaitTables& shared, std::size_t number) noexcept {
  shared.done_slots.set(number);
  if (number == kWaitSlots / 2) wake_collector(shared);
}

// `delay_ns` of waiting at `site`, in which `count` waits took part.
void record(const Site& site, std::int64_t delay_ns, double count) noexcept {
  const std::int64_t rate = rate_in_effect();
  WaitTables* const shared = tables.load(std::memory_order_acquire);
  if (rate == 0 || shared == nullptr || delay_ns <= 0) return;
  const Weight weight = weigh(delay_ns, rate, delay_ns < rate ? random_number() : 0);
  if (!weight.sampled) return;
  const std::size_t number = fill_slot(*shared, site, {count * weight.count, weight.delay_ns});
  if (number != kWaitSlots) publish(*shared, number);
}

}  // namespace

HookGuard::HookGuard() noexcept { ++hook_depth; }
HookGuard::~HookGuard() { --hook_depth; }
bool HookGuard::inside() noexcept { return hook_depth != 0; }

extern "C" {
// sampler/own_wait.h, which refers to them weakly.
__attribute__((visibility("hidden"))) void vigil_contention_begin_own_wait() noexcept {
  ++hook_depth;
}
__attribute__((visibility("hidden"))) void vigil_contention_end_own_wait() noexcept {
  --hook_depth;
}
}

Weight weigh(std::int64_t delay_ns, std::int64_t rate_ns, std::uint64_t random) noexcept {
  if (delay_ns >= rate_ns) return {true, 1, delay_ns};
  if (random % static_cast<std::uint64_t>(rate_ns) >= static_cast<std::uint64_t>(delay_ns)) {
    return {};
  }
  return {true, static_cast<double>(rate_ns) / static_cast<double>(delay_ns), rate_ns};
}

WaitScope::WaitScope(const Site& site, const void* lock) noexcept : site_(site), lock_(lock) {
  const HookGuard guard;
  // A trace has every wait.
  if (lock_ != nullptr && ticks_are_known() && !trace::recording()) {
    weight_ = waiters.weight_of_next(lock_, random_number() >> 32);
    if (weight_ == 0) {
      way_ = Way::kPassedOver;
      since_ticks_ = ticks_now();
      return;
    }
  }
  since_ns_ = now_ns();
  if (lock_ == nullptr) return;
  if (waiters.enter(lock_, since_ns_, weight_)) {
    way_ = Way::kEntered;
  } else {
    counters.waiters_unseen.fetch_add(1, std::memory_order_relaxed);
  }
}

WaitScope::~WaitScope() {
  const HookGuard guard;
  if (way_ == Way::kPassedOver) {
    end_passed_over();
  } else {
    end_timed();
  }
}

void WaitScope::end_passed_over() noexcept {
  const std::int64_t wait_ns = ns_of_ticks(ticks_now() - since_ticks_);
  if (wait_ns < kShortWaitNs) [[likely]] {
    return;
  }
  waiters.note_wait(lock_, wait_ns, rate_in_effect());
  record(site_, wait_ns, 1);
}

void WaitScope::end_timed() noexcept {
  const std::int64_t now = now_ns();
  const std::int64_t wait_ns = now - since_ns_;
  if (way_ == Way::kEntered) {
    const std::int64_t handoff = waiters.leave(lock_, since_ns_, now, weight_);
    counters.handoff_ns.fetch_add(static_cast<std::uint64_t>(handoff), std::memory_order_relaxed);
  }
  if (lock_ != nullptr) waiters.note_wait(lock_, wait_ns, rate_in_effect());
  const std::uint32_t weight = wait_ns < kShortWaitNs ? weight_ : 1;
  record(site_, weight * wait_ns, weight);
  if (trace::recording()) [[unlikely]] {
    trace::emit({.kind = TraceKind::kLockWait,
                 .begin_ns = since_ns_,
                 .end_ns = now,
                 .name = wait_name(site_.kind),
                 .caller = site_.caller});
  }
}

bool may_keep_waiting(const void* lock) noexcept { return waiters.may_have_waiters(lock); }

Charge charge_holder(const void* lock) noexcept {
  const HookGuard guard;
  return waiters.charge(lock, now_ns());
}

void record_holder(const Site& site, const Charge& charge) noexcept {
  if (charge.waiters == 0) return;
  const HookGuard guard;
  record({WaitKind::kHolder, site.leaf, site.caller}, charge.delay_ns, charge.waiters);
}

ThreadRecord* record_creation(const Site& site) noexcept {
  const HookGuard guard;
  WaitTables* const shared = tables.load(std::memory_order_acquire);
  if (shared == nullptr) return nullptr;
  const std::size_t index = shared->free_records.take_lowest();
  if (index == kThreadRecords) {
    counters.threads_unseen.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  ThreadRecord& record = shared->records[index];
  record.tid.store(0, std::memory_order_relaxed);
  const std::uint32_t generation = record.generation.fetch_add(1) + 1;
  // Without a stack the thread is counted all the same, its creator as unknown.
  const std::size_t number = fill_slot(*shared, site, {1, 0});
  if (number != kWaitSlots) {
    shared->slots[number].record = static_cast<std::uint32_t>(index);
    shared->slots[number].generation = generation;
    publish(*shared, number);
  }
  return &record;
}

void forget_thread(ThreadRecord& record) noexcept {
  WaitTables* const shared = tables.load(std::memory_order_acquire);
  record.tid.store(0, std::memory_order_relaxed);
  record.generation.fetch_add(1);
  shared->free_records.set(static_cast<std::size_t>(&record - shared->records.data()));
}

}  // namespace vigil::sampler::contention
