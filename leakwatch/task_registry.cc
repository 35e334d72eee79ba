#include "leakwatch/task_registry.h"

#include <algorithm>
#include <cassert>

#include "base/thread_id.h"
#include "leakwatch/task_slots.h"
#include "sampler/trace/trace_buffer.h"

namespace vigil::leakwatch {
namespace {

constinit std::atomic<TaskBegunHook> begun_hook{nullptr};

// Spreads threads over the free lists. Consecutive threads get consecutive lists.
std::uint32_t thread_number() {
  static constinit std::atomic<std::uint32_t> next{0};
  constinit thread_local static std::uint32_t mine = 0;
  if (mine == 0) mine = next.fetch_add(1, std::memory_order_relaxed) + 1;
  return mine;
}

// Tells registries apart that were made one after the other at one address; 0 is none.
std::uint32_t next_serial() {
  static constinit std::atomic<std::uint32_t> made{0};
  return made.fetch_add(1, std::memory_order_relaxed) + 1;
}

// How long a table that had nothing left is not searched for spares again: at most 20 us of every
// millisecond go into that, however many tasks begin meanwhile.
constexpr Duration kSparesSearchPause = std::chrono::milliseconds(1);

// One thread at a time moves a task, so this is no read-modify-write.
void count_move(std::atomic<std::uint32_t>& moves) {
  moves.store(moves.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

}  // namespace

void set_task_begun_hook(TaskBegunHook hook) noexcept {
  begun_hook.store(hook, std::memory_order_release);
}

TaskBegunHook task_begun_hook() noexcept { return begun_hook.load(std::memory_order_relaxed); }

constinit thread_local TaskRegistry::Current TaskRegistry::current_;
constinit thread_local TaskRegistry::Spare TaskRegistry::spare_;

TaskRegistry::TaskRegistry(Clock& clock, TaskRegistryOptions options)
    : clock_(clock),
      serial_(next_serial()),
      slots_per_list_(static_cast<std::uint32_t>((options.tasks_max + kLists - 1) / kLists)),
      // Not make_unique: value-initialization would touch, and so make resident, the whole table.
      slots_(new Slot[std::size_t{slots_per_list_} * kLists]),
      extras_(new Extra[std::size_t{slots_per_list_} * kLists]),
      lists_(std::make_unique<FreeList[]>(kLists)) {
  static_assert(sizeof(Slot) == 64, "a slot is one cache line");
  assert(options.tasks_max >= 1 && options.tasks_max <= 1u << 20);
}

TaskRegistry::~TaskRegistry() = default;

TaskLabel TaskRegistry::intern(std::string_view text) {
  return TaskLabel(sampler::work_name(text));
}

std::uint32_t TaskRegistry::pop_free_from(FreeList& list) {
  std::uint64_t head = list.head.load(std::memory_order_acquire);
  while (static_cast<std::uint32_t>(head) != kNoSlot) {
    const auto slot = static_cast<std::uint32_t>(head);
    const std::uint32_t next = slots_[slot].next_free.load(std::memory_order_relaxed);
    const std::uint64_t after = FreeList::pack((head >> 32) + 1, next);
    if (list.head.compare_exchange_weak(head, after, std::memory_order_acquire)) return slot;
  }
  std::uint32_t fresh = list.fresh.load(std::memory_order_relaxed);
  while (fresh < slots_per_list_) {
    if (list.fresh.compare_exchange_weak(fresh, fresh + 1, std::memory_order_relaxed)) {
      return fresh * kLists + static_cast<std::uint32_t>(&list - lists_.get());
    }
  }
  return kNoSlot;
}

std::uint32_t TaskRegistry::pop_free(std::uint32_t preferred_list) {
  for (std::uint32_t i = 0; i < kLists; ++i) {
    const std::uint32_t slot = pop_free_from(lists_[(preferred_list + i) % kLists]);
    if (slot != kNoSlot) return slot;
  }
  return kNoSlot;
}

void TaskRegistry::push_free(std::uint32_t slot) {
  FreeList& list = lists_[slot % kLists];
  std::uint64_t head = list.head.load(std::memory_order_relaxed);
  std::uint64_t after = 0;
  do {
    slots_[slot].next_free.store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
    after = FreeList::pack((head >> 32) + 1, slot);
  } while (!list.head.compare_exchange_weak(head, after, std::memory_order_release,
                                            std::memory_order_relaxed));
}

bool TaskRegistry::reclaim_spares(MonotonicTime now) {
  const MonotonicTime last(Duration(no_spares_at_ns_.load(std::memory_order_relaxed)));
  if (last <= now && now - last < kSparesSearchPause) return false;
  bool found = false;
  for (std::uint32_t list = 0; list < kLists; ++list) {
    const std::uint32_t used = lists_[list].fresh.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < used; ++i) {
      const std::uint32_t index = i * kLists + list;
      std::uint64_t sequence = slots_[index].sequence.load(std::memory_order_relaxed);
      if (phase_of(sequence) != kSpare) continue;
      if (!slots_[index].sequence.compare_exchange_strong(sequence, sequence - kSpare + kFree,
                                                          std::memory_order_acquire)) {
        continue;  // its thread has just begun a task
      }
      push_free(index);
      found = true;
    }
  }
  if (!found) {
    no_spares_at_ns_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
  return found;
}

// A slot to be written, the thread's spare or one from the lists, and its sequence as if it were
// free. Not read again by the caller: a load behind a locked instruction waits for it.
TaskRegistry::Claimed TaskRegistry::claim_slot(MonotonicTime now) {
  if (Spare& spare = spare_; spare.registry == serial_) {
    spare.registry = 0;
    const std::uint64_t free = spare.sequence - kSpare;
    std::uint64_t expected = spare.sequence;
    if (slots_[spare.slot].sequence.compare_exchange_strong(expected, free + kWriting,
                                                            std::memory_order_acquire)) {
      return {spare.slot, free};
    }
    // Somebody has reclaimed it, and it may have had tasks since: no sequence comes twice.
  }
  std::uint32_t index = pop_free(thread_number());
  if (index == kNoSlot && reclaim_spares(now)) index = pop_free(thread_number());
  if (index == kNoSlot) return {};
  std::atomic<std::uint64_t>& sequence = slots_[index].sequence;
  const std::uint64_t free = sequence.load(std::memory_order_relaxed);
  sequence.store(free + kWriting, std::memory_order_relaxed);
  return {index, free};
}

TaskRegistry::Claim TaskRegistry::begin(TaskLabel label, const TaskStart& start, Origin origin,
                                        pid_t thread) {
  const auto [index, sequence] = claim_slot(start.now);
  if (index == kNoSlot) {
    untracked_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  Slot& slot = slots_[index];
  slot.started_ns.store(start.now.time_since_epoch().count(), std::memory_order_release);
  slot.gives_up_at_ns.store(start.gives_up_at.time_since_epoch().count(),
                            std::memory_order_release);
  slot.label.store(label.name_, std::memory_order_release);
  slot.parent.store(origin.parent, std::memory_order_release);
  slot.thread.store(thread, std::memory_order_release);
  slot.stalled_after_ms.store(0, std::memory_order_release);
  slot.scope.store(origin.scope, std::memory_order_release);
  slot.sequence.store(sequence + kLive, std::memory_order_release);
  return {index, id_of(index, generation_of(sequence))};
}

void TaskRegistry::end(Claim claim) {
  if (claim.slot == kNoSlot) return;
  std::atomic<std::uint64_t>& sequence = slots_[claim.slot].sequence;
  assert(phase_of(sequence.load(std::memory_order_relaxed)) == kLive);
  const std::uint64_t next =
      sequence.load(std::memory_order_relaxed) - kLive + kNextGeneration;  // free
  // A registry made later takes the place of an older one, which may be gone, and not the reverse: a
  // thread that works for two leaves at most one slot of each behind.
  if (Spare& spare = spare_; spare.registry < serial_) {
    spare = {serial_, claim.slot, next + kSpare};
    sequence.store(next + kSpare, std::memory_order_release);
    return;
  }
  sequence.store(next, std::memory_order_release);
  push_free(claim.slot);
}

TaskProgress TaskRegistry::mark_streaming(Claim claim, Duration stalled_after) {
  using Milliseconds = std::chrono::duration<std::uint32_t, std::milli>;
  constexpr Duration kMax = Milliseconds::max();
  const Duration kept = std::clamp<Duration>(stalled_after, std::chrono::milliseconds(1), kMax);
  Slot& slot = slots_[claim.slot];
  const std::uint64_t sequence = slot.sequence.load(std::memory_order_relaxed);
  // A thread whose tasks did not nest may name one that has ended.
  if (phase_of(sequence) != kLive || id_of(claim.slot, generation_of(sequence)) != claim.id) {
    return {};
  }
  slot.progressed_ns.store(clock_.now().time_since_epoch().count(), std::memory_order_release);
  // Behind the time: who sees that it streams sees since when.
  slot.stalled_after_ms.store(std::chrono::duration_cast<Milliseconds>(kept).count(),
                              std::memory_order_release);
  return {*this, claim.slot, sequence};
}

TaskRegistry::Extra* TaskRegistry::extra_of(Claim claim) {
  if (claim.slot == kNoSlot) return nullptr;
  const std::uint64_t sequence = slots_[claim.slot].sequence.load(std::memory_order_relaxed);
  if (phase_of(sequence) != kLive || id_of(claim.slot, generation_of(sequence)) != claim.id) {
    return nullptr;
  }
  Extra& extra = extras_[claim.slot];
  if (extra.sequence.load(std::memory_order_relaxed) != sequence) {
    extra.request.store(nullptr, std::memory_order_release);
    extra.stuck_after_ms.store(0, std::memory_order_release);
    extra.moves.store(0, std::memory_order_release);
    extra.waits_at.store(nullptr, std::memory_order_release);
    extra.sequence.store(sequence, std::memory_order_release);
  }
  return &extra;
}

void TaskRegistry::describe(Claim claim, const TaskRequest& request) {
  if (Extra* extra = extra_of(claim)) extra->request.store(&request, std::memory_order_release);
}

void TaskRegistry::mark_allowed(Claim claim, Duration stuck_after) {
  using Milliseconds = std::chrono::duration<std::uint32_t, std::milli>;
  const auto kept = std::clamp<Duration>(stuck_after, Milliseconds(1), Milliseconds::max());
  if (Extra* extra = extra_of(claim)) {
    extra->stuck_after_ms.store(std::chrono::duration_cast<Milliseconds>(kept).count(),
                                std::memory_order_release);
  }
}

void TaskRegistry::mark_entered(Claim claim) {
  Extra* const extra = extra_of(claim);
  if (extra == nullptr) return;
  slots_[claim.slot].thread.store(current_thread_id(), std::memory_order_release);
  count_move(extra->moves);
}

void TaskRegistry::mark_left(Claim claim, const AwaitFrame* place) {
  Extra* const extra = extra_of(claim);
  if (extra == nullptr) return;
  extra->waits_at.store(place, std::memory_order_release);
  slots_[claim.slot].thread.store(0, std::memory_order_release);
  count_move(extra->moves);
}

void TaskRegistry::mark_progress(std::uint32_t index, std::uint64_t sequence, MonotonicTime at) {
  Slot& slot = slots_[index];
  if (slot.sequence.load(std::memory_order_acquire) != sequence) return;
  slot.progressed_ns.store(at.time_since_epoch().count(), std::memory_order_release);
}

TaskRegistry::Origin TaskRegistry::origin_of(TaskId parent) const {
  if (parent == TaskId::kNone) return {current_.claim.id, current_scope()};
  const auto found = find(parent);
  return {parent, found ? found->scope : current_scope()};
}

Task::Task(TaskRegistry& registry, TaskLabel label, const TaskStart& start)
    : registry_(registry), outer_(TaskRegistry::current_), outer_scope_(current_scope()) {
  const TaskRegistry::Origin origin = registry.origin_of(start.parent);
  claim_ = registry.begin(label, start, origin, current_thread_id());
  if (claim_.id != TaskId::kNone) TaskRegistry::current_ = {&registry, claim_};
  if (start.request != nullptr) registry.describe(claim_, *start.request);
  outer_work_ =
      sampler::enter_task({label.name_, static_cast<std::uint64_t>(claim_.id), start.now});
  if (claim_.id == TaskId::kNone) return;
  set_current_scope(origin.scope);
  if (const TaskBegunHook hook = task_begun_hook()) hook(claim_.id);
}

Task::~Task() {
  if (sampler::trace::recording()) [[unlikely]]
    trace_end();
  sampler::leave_task(outer_work_);
  TaskRegistry::current_ = outer_;
  set_current_scope(outer_scope_);
  registry_.end(claim_);
}

// Its begin is in its slot still.
void Task::trace_end() const {
  const std::optional<TaskInfo> info = registry_.find(claim_.id);
  if (!info) return;
  sampler::trace::emit({.kind = sampler::TraceKind::kTask,
                        .begin_ns = info->started.time_since_epoch().count(),
                        .end_ns = registry_.clock().now().time_since_epoch().count(),
                        .id = static_cast<std::uint64_t>(info->id),
                        .name = info->label});
}

TaskId Task::current() { return TaskRegistry::current_.claim.id; }

TaskProgress Task::stream(Duration stalled_after) {
  const auto& [registry, claim] = TaskRegistry::current_;
  if (registry == nullptr) return {};
  return registry->mark_streaming(claim, stalled_after);
}

void Task::allow(Duration stuck_after) {
  const auto& [registry, claim] = TaskRegistry::current_;
  if (registry != nullptr) registry->mark_allowed(claim, stuck_after);
}

void TaskProgress::made() const {
  if (registry_ != nullptr) made(registry_->clock().now());
}

void TaskProgress::made(MonotonicTime now) const {
  if (registry_ != nullptr) registry_->mark_progress(slot_, sequence_, now);
}

void TaskProgress::waits() const { made(kNoDeadline); }

}  // namespace vigil::leakwatch
