#include "sampler/signal_capture.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "sampler/cpu_timers.h"
#include "sampler/proc_thread.h"

namespace vigil::sampler {
namespace {

using sigsafe::Slot;
using sigsafe::SlotState;

// 0 or errno.
int queue_signal(pid_t tid, int number, std::uint64_t value) {
  siginfo_t info{};
  info.si_signo = number;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(value);
  return syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, number, &info) == 0 ? 0 : errno;
}

bool is_gone(pid_t tid) { return syscall(SYS_tgkill, getpid(), tid, 0) != 0 && errno == ESRCH; }

// As is_gone, and true for another thread that has the id now, where that can be told (not 0).
bool is_other_thread(pid_t tid, std::uint64_t start_ticks) {
  const Result<ThreadStat> stat = read_thread_stat(tid);
  if (!stat) return stat.error().code() == ErrorCode::kNotFound;
  return start_ticks != 0 && stat->start_ticks != start_ticks;
}

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen, Duration at_most) {
  static_assert(sizeof(word) == sizeof(std::uint32_t));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at_most);
  const timespec timeout{seconds.count(), (at_most - seconds).count()};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, &timeout, nullptr, 0);
}

}  // namespace

RegisterSet registers_of(const Slot& slot) {
  static_assert(sigsafe::kRegisterSlots == kRegisterCount);
  RegisterSet registers;
  for (std::size_t i = 0; i < kRegisterCount; ++i) {
    registers.set(static_cast<Register>(i), slot.registers[i]);
  }
  return registers;
}

StackCopy stack_of(const Slot& slot) {
  return {slot.stack_base, {slot.stack, slot.stack_bytes}, slot.stack_end};
}

SignalCapture::SignalCapture(SignalChannel& channel, Clock& clock)
    : channel_(channel), clock_(clock) {
  requests_.reserve(channel.tables().captures.size());
  parked_.reserve(channel.tables().captures.size());
}

SignalCapture::Request SignalCapture::request(pid_t tid, std::size_t ticket, Way way) {
  reclaim_parked();
  sigsafe::Tables& tables = channel_.tables();
  const std::uint64_t generation = tables.next_generation.fetch_add(1);
  const auto free = std::find_if(tables.captures.begin(), tables.captures.end(), [&](Slot& slot) {
    return slot.claim(SlotState::kRequested, generation);
  });
  if (free == tables.captures.end()) return Request::kNoSlot;
  const auto index = static_cast<std::uint32_t>(free - tables.captures.begin());
  Pending pending{ticket, &*free, generation, tid};
  const int failed = send(pending, index, way);
  if (failed != 0) {
    free->move(SlotState::kRequested, SlotState::kFree, generation);
    return failed == ESRCH ? Request::kGone : Request::kNoSlot;
  }
  requests_.push_back(pending);
  return Request::kQueued;
}

int SignalCapture::send(Pending& pending, std::uint32_t index, Way way) {
  if (way == Way::kWhenItRuns) {
    pending.timer = make_cpu_timer(
        pending.tid, channel_.signal_number(),
        sigsafe::pack_value({index | sigsafe::kTimerCaptureBit, pending.generation}));
    if (pending.timer) {
      // A late expiry is deadly without a handler: see ~SignalChannel.
      channel_.tables().timers_armed.store(1);
      const itimerspec soon{{}, {0, 1}};
      timer_settime(*pending.timer, 0, &soon, nullptr);
      return 0;
    }
  }
  return queue_signal(pending.tid, channel_.signal_number(),
                      sigsafe::pack_value({index, pending.generation}));
}

std::vector<SignalCapture::Waiting> SignalCapture::waiting_to_run() const {
  std::vector<Waiting> waiting;
  for (const Pending& pending : requests_) {
    if (pending.timer) waiting.push_back({pending.tid, pending.ticket});
  }
  return waiting;
}

bool SignalCapture::withdraw(std::size_t ticket) {
  const auto pending = std::find_if(requests_.begin(), requests_.end(),
                                    [&](const Pending& p) { return p.ticket == ticket; });
  if (pending == requests_.end() || !pending->timer) return false;
  // A signal that is on its way all the same finds another generation, and is ignored.
  if (!pending->slot->move(SlotState::kRequested, SlotState::kFree, pending->generation)) {
    return false;
  }
  timer_delete(*pending->timer);
  requests_.erase(pending);
  return true;
}

bool SignalCapture::has_answer() const {
  return std::any_of(requests_.begin(), requests_.end(), [](const Pending& pending) {
    return sigsafe::slot_state(pending.slot->word.load(std::memory_order_acquire)) ==
           SlotState::kDone;
  });
}

std::optional<SignalCapture::Answer> SignalCapture::take_answer() {
  const auto done = std::find_if(requests_.begin(), requests_.end(), [](const Pending& pending) {
    return pending.slot->word.load(std::memory_order_acquire) ==
           sigsafe::slot_word(SlotState::kDone, pending.generation);
  });
  if (done == requests_.end()) return std::nullopt;
  Slot& slot = *done->slot;
  Answer answer{done->ticket,       &slot,
                registers_of(slot), stack_of(slot),
                work_of(slot.work), std::chrono::nanoseconds(slot.handler_ns)};
  release_labels(slot.work);
  if (done->timer) timer_delete(*done->timer);
  requests_.erase(done);
  return answer;
}

void SignalCapture::release(const Answer& answer) {
  const std::uint64_t generation = sigsafe::slot_owner(answer.slot->word.load());
  answer.slot->move(SlotState::kDone, SlotState::kFree, generation);
}

void SignalCapture::wait(MonotonicTime deadline) {
  sigsafe::Tables& tables = channel_.tables();
  const MonotonicTime now = clock_.now();
  if (now >= deadline) return;
  const Duration at_most = std::min<Duration>(deadline - now, kSliceMax);
  // An answer after this load changes the word, and futex(2) then does not sleep.
  const std::uint32_t seen = tables.capture_events.load();
  tables.capture_waiters.fetch_add(1);
  if (!has_answer()) futex_wait(tables.capture_events, seen, at_most);
  tables.capture_waiters.fetch_sub(1);
}

std::vector<std::size_t> SignalCapture::take_gone() {
  std::vector<std::size_t> tickets;
  tickets.reserve(requests_.size());
  std::erase_if(requests_, [&](const Pending& pending) {
    // The signal went with the thread, unless it is in the handler's last steps: then the slot is
    // not kRequested.
    if (!is_gone(pending.tid) ||
        !pending.slot->move(SlotState::kRequested, SlotState::kFree, pending.generation)) {
      return false;
    }
    if (pending.timer) timer_delete(*pending.timer);
    tickets.push_back(pending.ticket);
    return true;
  });
  return tickets;
}

void SignalCapture::park(const Pending& pending) noexcept {
  Pending parked = pending;
  try {
    if (const Result<ThreadStat> stat = read_thread_stat(pending.tid)) {
      parked.start_ticks = stat->start_ticks;
    }
  } catch (const std::bad_alloc&) {  // it stays parked until no thread has the id
  }
  parked_.push_back(parked);
}

std::vector<std::size_t> SignalCapture::give_up() {
  std::vector<std::size_t> tickets;
  tickets.reserve(requests_.size());
  for (const Pending& pending : requests_) tickets.push_back(pending.ticket);
  drop();
  return tickets;
}

void SignalCapture::drop() noexcept {
  for (const Pending& pending : requests_) {
    if (pending.timer) timer_delete(*pending.timer);
    Slot& slot = *pending.slot;
    // Nothing is on its way that could find this generation, as in withdraw().
    if (pending.timer && slot.move(SlotState::kRequested, SlotState::kFree, pending.generation)) {
      continue;
    }
    // From either state; the handler may pass from the one to the other between our two attempts,
    // not back.
    if (slot.move(SlotState::kRequested, SlotState::kRevoked, pending.generation) ||
        slot.move(SlotState::kWriting, SlotState::kRevoked, pending.generation)) {
      park(pending);
    } else {
      release_labels(slot.work);
      slot.move(SlotState::kDone, SlotState::kFree, pending.generation);
    }
  }
  requests_.clear();
}

void SignalCapture::reclaim_parked() {
  std::erase_if(parked_, [](const Pending& pending) {
    const sigsafe::SlotWord revoked = sigsafe::slot_word(SlotState::kRevoked, pending.generation);
    if (pending.slot->word.load(std::memory_order_acquire) != revoked) return true;
    if (!is_other_thread(pending.tid, pending.start_ticks)) return false;
    pending.slot->move(SlotState::kRevoked, SlotState::kFree, pending.generation);
    return true;
  });
}

}  // namespace vigil::sampler
