#include "leakwatch/task_registry.h"

#include <algorithm>
#include <cassert>

#include "base/thread_id.h"
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

constexpr std::uint64_t kPhaseMask = 3;  // the low two bits of a slot's sequence
constexpr std::uint64_t kFree = 0;
constexpr std::uint64_t kWriting = 1;
constexpr std::uint64_t kLive = 2;
constexpr std::uint64_t kNextGeneration = 4;

// One thread at a time moves a task, so this is no read-modify-write.
void count_move(std::atomic<std::uint32_t>& moves) {
  moves.store(moves.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

std::uint64_t phase_of(std::uint64_t sequence) { return sequence & kPhaseMask; }
std::uint64_t generation_of(std::uint64_t sequence) { return sequence / kNextGeneration; }

}  // namespace

void set_task_begun_hook(TaskBegunHook hook) noexcept {
  begun_hook.store(hook, std::memory_order_release);
}

bool is_older(const TaskInfo& a, const TaskInfo& b) {
  return a.started != b.started ? a.started < b.started : a.id < b.id;
}

std::optional<TaskInfo> innermost_task(std::span<const TaskInfo> tasks, pid_t thread) {
  const TaskInfo* youngest = nullptr;
  for (const TaskInfo& task : tasks) {
    if (task.thread != thread) continue;
    if (youngest == nullptr || is_older(*youngest, task)) youngest = &task;
  }
  return youngest == nullptr ? std::nullopt : std::optional(*youngest);
}

TaskBegunHook task_begun_hook() noexcept { return begun_hook.load(std::memory_order_relaxed); }

struct alignas(64) TaskRegistry::Slot {
  std::atomic<std::uint64_t> sequence{kFree};
  std::atomic<std::int64_t> started_ns{0};
  std::atomic<std::int64_t> gives_up_at_ns{0};
  std::atomic<const sampler::WorkName*> label{nullptr};
  std::atomic<TaskId> parent{TaskId::kNone};
  std::atomic<pid_t> thread{0};
  std::atomic<std::uint32_t> next_free{kNoSlot};
  // Of a streaming task: when it made progress last, kNoDeadline while it waits for its peer. Means
  // nothing while stalled_after_ms is 0.
  std::atomic<std::int64_t> progressed_ns{0};
  std::atomic<std::uint32_t> stalled_after_ms{0};  // 0: not streaming
  std::atomic<ScopeId> scope{ScopeId::kNone};
};

// What only some tasks have, beside the slot so that the others do not pay for it: nothing is
// written here when a task begins or ends without it. `sequence` is the slot's when the entry was
// written; the entry is the live task's only while both are equal.
struct TaskRegistry::Extra {
  std::atomic<std::uint64_t> sequence{kFree};
  std::atomic<const TaskRequest*> request{nullptr};
  std::atomic<std::uint32_t> stuck_after_ms{0};  // 0: no threshold of its own
  // Of an AsyncTask. `moves` changes with each store to the slot's `thread` and behind it, so who
  // finds both as they were has seen one stay.
  std::atomic<std::uint32_t> moves{0};
  std::atomic<const AwaitFrame*> waits_at{nullptr};
};

// A stack of free slots (Treiber's). `head` packs a tag and the top slot's index; the tag moves
// with every pop, so a head that came back to the same slot meanwhile does not compare equal. Slots
// that were never used are not linked at all: `fresh` counts how many of this list's own range have
// been handed out, which also bounds what a reader must look at.
struct alignas(64) TaskRegistry::FreeList {
  static constexpr std::uint64_t pack(std::uint64_t tag, std::uint32_t slot) {
    return tag << 32 | slot;
  }
  std::atomic<std::uint64_t> head{pack(0, kNoSlot)};
  std::atomic<std::uint32_t> fresh{0};
};

constinit thread_local TaskRegistry::Current TaskRegistry::current_;

TaskRegistry::TaskRegistry(Clock& clock, TaskRegistryOptions options)
    : clock_(clock),
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

// Numbers that people read aloud: the first slot of each list in turn, then the second of each, so
// the ids of a server with a handful of tasks at a time are small in its first generations.
TaskId TaskRegistry::id_of(std::uint32_t slot, std::uint64_t generation) const {
  const std::uint64_t slots = std::uint64_t{slots_per_list_} * kLists;
  const std::uint32_t list = slot / slots_per_list_;
  const std::uint32_t place = slot % slots_per_list_;
  return TaskId{generation * slots + std::uint64_t{place} * kLists + list + 1};
}

std::uint32_t TaskRegistry::slot_of(TaskId id) const {
  const std::uint64_t slots = std::uint64_t{slots_per_list_} * kLists;
  const auto number = static_cast<std::uint32_t>((static_cast<std::uint64_t>(id) - 1) % slots);
  return number % kLists * slots_per_list_ + number / kLists;
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
      return static_cast<std::uint32_t>(&list - lists_.get()) * slots_per_list_ + fresh;
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
  FreeList& list = lists_[slot / slots_per_list_];
  std::uint64_t head = list.head.load(std::memory_order_relaxed);
  std::uint64_t after = 0;
  do {
    slots_[slot].next_free.store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
    after = FreeList::pack((head >> 32) + 1, slot);
  } while (!list.head.compare_exchange_weak(head, after, std::memory_order_release,
                                            std::memory_order_relaxed));
}

TaskRegistry::Claim TaskRegistry::begin(TaskLabel label, const TaskStart& start, ScopeId scope,
                                        pid_t thread) {
  const std::uint32_t index = pop_free(thread_number());
  if (index == kNoSlot) {
    untracked_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  Slot& slot = slots_[index];
  const std::uint64_t sequence = slot.sequence.load(std::memory_order_relaxed);
  slot.sequence.store(sequence + kWriting, std::memory_order_relaxed);
  slot.started_ns.store(start.now.time_since_epoch().count(), std::memory_order_release);
  slot.gives_up_at_ns.store(start.gives_up_at.time_since_epoch().count(),
                            std::memory_order_release);
  slot.label.store(label.name_, std::memory_order_release);
  slot.parent.store(start.parent, std::memory_order_release);
  slot.thread.store(thread, std::memory_order_release);
  slot.stalled_after_ms.store(0, std::memory_order_release);
  slot.scope.store(scope, std::memory_order_release);
  slot.sequence.store(sequence + kLive, std::memory_order_release);
  return {index, id_of(index, generation_of(sequence))};
}

void TaskRegistry::end(Claim claim) {
  if (claim.slot == kNoSlot) return;
  Slot& slot = slots_[claim.slot];
  const std::uint64_t sequence = slot.sequence.load(std::memory_order_relaxed);
  assert(phase_of(sequence) == kLive);
  slot.sequence.store(sequence - kLive + kNextGeneration, std::memory_order_release);
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

const AwaitFrame* TaskRegistry::waits_at(const TaskInfo& task) const {
  if (!task.waiting()) return nullptr;
  const AwaitFrame* const place =
      extras_[slot_of(task.id)].waits_at.load(std::memory_order_acquire);
  const auto still = find(task.id);
  return still && still->waiting() && still->moves == task.moves ? place : nullptr;
}

std::optional<RequestInfo> TaskRegistry::request_of(TaskId id) const {
  constexpr int kParentsMax = 8;
  for (int i = 0; i < kParentsMax && id != TaskId::kNone; ++i) {
    const auto info = find(id);
    if (!info) return std::nullopt;
    const std::uint32_t index = slot_of(id);
    const Extra& extra = extras_[index];
    const std::uint64_t sequence = slots_[index].sequence.load(std::memory_order_acquire);
    const TaskRequest* request = extra.request.load(std::memory_order_acquire);
    if (extra.sequence.load(std::memory_order_acquire) == sequence && request != nullptr) {
      auto read = read_request(request);
      // Ended meanwhile: what was read may be anything.
      return is_live(id) ? std::move(read) : std::nullopt;
    }
    id = info->parent;
  }
  return std::nullopt;
}

void TaskRegistry::mark_progress(std::uint32_t index, std::uint64_t sequence, MonotonicTime at) {
  Slot& slot = slots_[index];
  if (slot.sequence.load(std::memory_order_acquire) != sequence) return;
  slot.progressed_ns.store(at.time_since_epoch().count(), std::memory_order_release);
}

std::optional<TaskInfo> TaskRegistry::read(std::uint32_t index) const {
  const Slot& slot = slots_[index];
  const std::uint64_t before = slot.sequence.load(std::memory_order_acquire);
  if (phase_of(before) != kLive) return std::nullopt;
  TaskInfo info;
  info.id = id_of(index, generation_of(before));
  info.started = MonotonicTime(Duration(slot.started_ns.load(std::memory_order_acquire)));
  info.gives_up_at = MonotonicTime(Duration(slot.gives_up_at_ns.load(std::memory_order_acquire)));
  const sampler::WorkName* label = slot.label.load(std::memory_order_acquire);
  info.parent = slot.parent.load(std::memory_order_acquire);
  info.thread = slot.thread.load(std::memory_order_acquire);
  info.stalled_after =
      std::chrono::milliseconds(slot.stalled_after_ms.load(std::memory_order_acquire));
  if (info.streaming()) {
    info.progressed_at =
        MonotonicTime(Duration(slot.progressed_ns.load(std::memory_order_acquire)));
  }
  info.scope = slot.scope.load(std::memory_order_acquire);
  const Extra& extra = extras_[index];
  if (extra.sequence.load(std::memory_order_acquire) == before) {
    info.stuck_after =
        std::chrono::milliseconds(extra.stuck_after_ms.load(std::memory_order_acquire));
    info.moves = extra.moves.load(std::memory_order_acquire);
  }
  // Moved meanwhile: that task has ended, and one that began just now is nobody's concern yet.
  if (slot.sequence.load(std::memory_order_acquire) != before) return std::nullopt;
  if (label != nullptr) info.label = label->text;
  return info;
}

void TaskRegistry::snapshot_unsorted(std::vector<TaskInfo>& into) const {
  into.clear();
  for (std::uint32_t list = 0; list < kLists; ++list) {
    const std::uint32_t used = lists_[list].fresh.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < used; ++i) {
      if (auto info = read(list * slots_per_list_ + i)) into.push_back(*info);
    }
  }
}

std::vector<TaskInfo> TaskRegistry::snapshot() const {
  std::vector<TaskInfo> tasks;
  snapshot_unsorted(tasks);
  std::sort(tasks.begin(), tasks.end(), is_older);
  return tasks;
}

std::optional<TaskInfo> TaskRegistry::find(TaskId id) const {
  if (id == TaskId::kNone) return std::nullopt;
  auto info = read(slot_of(id));
  if (!info || info->id != id) return std::nullopt;
  return info;
}

TaskRegistry::Counters TaskRegistry::counters() const {
  // A slot's sequence counts its own activations, so begin and end need no counter of their own.
  Counters counters;
  for (std::uint32_t list = 0; list < kLists; ++list) {
    const std::uint32_t used = lists_[list].fresh.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < used; ++i) {
      const std::uint64_t sequence =
          slots_[list * slots_per_list_ + i].sequence.load(std::memory_order_acquire);
      const std::uint64_t live = phase_of(sequence) == kLive ? 1 : 0;
      counters.started += generation_of(sequence) + live;
      counters.live += live;
    }
  }
  counters.untracked = untracked_.load(std::memory_order_relaxed);
  return counters;
}

TaskStart TaskRegistry::with_parent(const TaskStart& start, ScopeId& scope) const {
  TaskStart complete = start;
  if (start.parent == TaskId::kNone) {
    complete.parent = current_.claim.id;
  } else if (const auto parent = find(start.parent)) {
    scope = parent->scope;
  }
  return complete;
}

Task::Task(TaskRegistry& registry, TaskLabel label, const TaskStart& start)
    : registry_(registry), outer_(TaskRegistry::current_), outer_scope_(current_scope()) {
  ScopeId scope = outer_scope_;
  claim_ = registry.begin(label, registry.with_parent(start, scope), scope, current_thread_id());
  if (claim_.id != TaskId::kNone) TaskRegistry::current_ = {&registry, claim_};
  if (start.request != nullptr) registry.describe(claim_, *start.request);
  outer_work_ =
      sampler::enter_task({label.name_, static_cast<std::uint64_t>(claim_.id), start.now});
  if (claim_.id == TaskId::kNone) return;
  set_current_scope(scope);
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
