#include "sampler/sigsafe/handler.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>

#include "sampler/sigsafe/errno_guard.h"
#include "sampler/sigsafe/raw_syscall.h"
#include "sampler/sigsafe/self_memory.h"
#include "sampler/sigsafe/thread_work.h"

namespace vigil::sampler::sigsafe {
namespace {

// What a signal handler can reach. Owned by the installed SignalChannel.
constinit std::atomic<Tables*> g_tables{nullptr};
constinit std::atomic<std::uint32_t> g_in_flight{0};

// Where copies begin: a leaf function may use 128 bytes below rsp (System V ABI 3.2.2).
constexpr std::size_t kBelowStackPointer[] = {128, 0};

// mcontext's numbering to DWARF's.
constexpr int kRegisterOrder[kRegisterSlots] = {
    REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
    REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};

std::uint64_t monotonic_ns() noexcept {
  timespec now{};
  raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, reinterpret_cast<long>(&now));
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// Where the stack that `sp` is on ends; 0 if neither candidate is above it and near.
std::uint64_t stack_end_above(std::uintptr_t sp, const Tables& tables) noexcept {
  const std::uintptr_t thread = thread_pointer();
  if (thread > sp && thread - sp <= kStackReach) return thread;
  const std::uint64_t main_end = tables.main_stack_end.load(std::memory_order_relaxed);
  if (main_end > sp && main_end - sp <= kStackReach) return main_end;
  return 0;
}

void fill(Slot& slot, const ucontext_t& context, const Tables& tables) noexcept {
  for (std::size_t i = 0; i < kRegisterSlots; ++i) {
    slot.registers[i] = static_cast<std::uint64_t>(context.uc_mcontext.gregs[kRegisterOrder[i]]);
  }
  const auto sp = static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
  const std::uint64_t end = stack_end_above(sp, tables);
  slot.tid = static_cast<std::int32_t>(raw_syscall(SYS_gettid));
  slot.work = take_own_work();
  slot.stack_end = end;
  // Below the lowest frame of a full stack is its guard page: then without the red zone.
  for (const std::size_t below : kBelowStackPointer) {
    slot.stack_base = sp - below;
    std::size_t bytes =
        end != 0 ? static_cast<std::size_t>(end - slot.stack_base) : kStackCopyUnknown;
    if (bytes > kStackCopyMax) bytes = kStackCopyMax;
    slot.stack_bytes = copy_memory(slot.stack_base, slot.stack, bytes);
    if (slot.stack_bytes != 0) return;
  }
}

void wake_collectors(Tables& tables) noexcept {
  // Sequentially consistent: either we see the waiter, or the waiter sees the new event before it
  // sleeps.
  tables.capture_events.fetch_add(1);
  if (tables.capture_waiters.load() == 0) return;
  raw_syscall(SYS_futex, reinterpret_cast<long>(&tables.capture_events), FUTEX_WAKE_PRIVATE,
              0x7fffffff);
}

void on_request(Tables& tables, SignalValue value, const ucontext_t& context) noexcept {
  if (value.index >= tables.captures.size()) {
    tables.counters.foreign.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  Slot& slot = tables.captures[value.index];
  if (!slot.move(SlotState::kRequested, SlotState::kWriting, value.generation)) {
    const bool late = slot.move(SlotState::kRevoked, SlotState::kFree, value.generation);
    auto& counter = late ? tables.counters.captures_late : tables.counters.foreign;
    counter.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const std::uint64_t begin_ns = monotonic_ns();
  fill(slot, context, tables);
  slot.handler_ns = monotonic_ns() - begin_ns;
  if (slot.move(SlotState::kWriting, SlotState::kDone, value.generation)) {
    tables.counters.captures.fetch_add(1, std::memory_order_relaxed);
    wake_collectors(tables);
  } else {
    // This thread's own reference remains: ours is not the last.
    if (slot.work.labels != nullptr) {
      slot.work.labels->references.fetch_sub(1, std::memory_order_relaxed);
    }
    slot.move(SlotState::kRevoked, SlotState::kFree, value.generation);
    tables.counters.captures_late.fetch_add(1, std::memory_order_relaxed);
  }
}

Slot* claim_sample_slot(Tables& tables, std::uint32_t session) noexcept {
  const std::size_t count = tables.samples.size();
  for (std::uint32_t probe = 0; probe < kProbesMax; ++probe) {
    const std::uint32_t at = tables.sample_cursor.fetch_add(1, std::memory_order_relaxed);
    Slot& slot = tables.samples[at % count];
    if (slot.claim(SlotState::kWriting, session)) return &slot;
  }
  return nullptr;
}

void on_timer(Tables& tables, SignalValue value, int overrun, const ucontext_t& context) noexcept {
  if (value.index >= kSessionsMax) {
    tables.counters.foreign.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  Session& session = tables.sessions[value.index];
  // Sequentially consistent with close_session(): it either sees us as a writer, or we see the
  // session closed.
  session.writers.fetch_add(1);
  if (session.generation.load() != value.generation) {
    tables.counters.samples_late.fetch_add(1, std::memory_order_relaxed);
  } else {
    const std::uint32_t weight = 1u + (overrun > 0 ? static_cast<std::uint32_t>(overrun) : 0u);
    if (Slot* slot = claim_sample_slot(tables, value.index)) {
      slot->weight = weight;
      fill(*slot, context, tables);
      slot->move(SlotState::kWriting, SlotState::kDone, value.index);
      tables.samples_done.set(static_cast<std::size_t>(slot - tables.samples.data()));
      tables.counters.samples.fetch_add(1, std::memory_order_relaxed);
    } else {
      session.lost.fetch_add(weight, std::memory_order_relaxed);
      tables.counters.samples_lost.fetch_add(weight, std::memory_order_relaxed);
    }
  }
  session.writers.fetch_sub(1);
}

}  // namespace

Tables* exchange_tables(Tables* tables) noexcept { return g_tables.exchange(tables); }

std::uint32_t handlers_in_flight() noexcept { return g_in_flight.load(); }

void forget_parent() noexcept {
  g_tables.store(nullptr);
  g_in_flight.store(0);
}

void on_signal(int /*signal_number*/, siginfo_t* info, void* context) noexcept {
  const ErrnoGuard errno_guard;
  g_in_flight.fetch_add(1);
  Tables* const tables = g_tables.load();
  const long pid = raw_syscall(SYS_getpid);
  if (tables != nullptr && pid == tables->pid) {
    const auto& interrupted = *static_cast<const ucontext_t*>(context);
    const SignalValue value =
        unpack_value(reinterpret_cast<std::uint64_t>(info->si_value.sival_ptr));
    if (info->si_code == SI_QUEUE && info->si_pid == pid) {
      on_request(*tables, value, interrupted);
    } else if (info->si_code == SI_TIMER && (value.index & kTimerCaptureBit) != 0) {
      on_request(*tables, {value.index & ~kTimerCaptureBit, value.generation}, interrupted);
    } else if (info->si_code == SI_TIMER) {
      on_timer(*tables, value, info->si_overrun, interrupted);
    } else {
      tables->counters.foreign.fetch_add(1, std::memory_order_relaxed);
    }
  }
  g_in_flight.fetch_sub(1);
}

}  // namespace vigil::sampler::sigsafe
