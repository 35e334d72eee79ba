// TaskRegistry's readers: none of them delays a writer.

#include <algorithm>
#include <array>
#include <span>

#include "leakwatch/task_slots.h"

namespace vigil::leakwatch {

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

std::uint32_t TaskRegistry::slot_of(TaskId id) const {
  const std::uint64_t slots = std::uint64_t{slots_per_list_} * kLists;
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(id) - 1) % slots);
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

std::optional<TaskInfo> TaskRegistry::find(TaskId id) const {
  if (id == TaskId::kNone) return std::nullopt;
  auto info = read(slot_of(id));
  if (!info || info->id != id) return std::nullopt;
  return info;
}

// As they lie in memory, all lists at once: a list at a time would look at one line in 16, 16 times.
template <typename Use>
void TaskRegistry::for_each_used(Use&& use) const {
  std::array<std::uint32_t, kLists> used{};
  for (std::uint32_t list = 0; list < kLists; ++list) {
    used[list] = lists_[list].fresh.load(std::memory_order_relaxed);
  }
  for (std::uint32_t from = 0;;) {
    // The lists that go on from here, up to the end of the shortest of them.
    std::array<std::uint32_t, kLists> lists{};
    std::size_t count = 0;
    std::uint32_t until = kNoSlot;
    for (std::uint32_t list = 0; list < kLists; ++list) {
      if (used[list] <= from) continue;
      lists[count++] = list;
      until = std::min(until, used[list]);
    }
    if (count == 0) return;
    for (; from < until; ++from) {
      for (const std::uint32_t list : std::span(lists).first(count)) use(from * kLists + list);
    }
  }
}

void TaskRegistry::snapshot_unsorted(std::vector<TaskInfo>& into) const {
  into.clear();
  for_each_used([&](std::uint32_t slot) {
    if (auto info = read(slot)) into.push_back(*info);
  });
}

std::vector<TaskInfo> TaskRegistry::snapshot() const {
  std::vector<TaskInfo> tasks;
  snapshot_unsorted(tasks);
  std::sort(tasks.begin(), tasks.end(), is_older);
  return tasks;
}

TaskRegistry::Counters TaskRegistry::counters() const {
  // A slot's sequence counts its own activations, so begin and end need no counter of their own.
  Counters counters;
  for_each_used([&](std::uint32_t slot) {
    const std::uint64_t sequence = slots_[slot].sequence.load(std::memory_order_acquire);
    const std::uint64_t live = phase_of(sequence) == kLive ? 1 : 0;
    counters.started += generation_of(sequence) + live;
    counters.live += live;
  });
  counters.untracked = untracked_.load(std::memory_order_relaxed);
  return counters;
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
      if (read && !read->client_gone) read->client_gone = is_watched_as_gone(id);
      // Ended meanwhile: what was read may be anything.
      return is_live(id) ? std::move(read) : std::nullopt;
    }
    id = info->parent;
  }
  return std::nullopt;
}

void TaskRegistry::add_client_watch(ClientWatch& watch) {
  const std::lock_guard lock(watches_mutex_);
  watches_.push_back(&watch);
}

void TaskRegistry::remove_client_watch(ClientWatch& watch) {
  const std::lock_guard lock(watches_mutex_);
  std::erase(watches_, &watch);
}

bool TaskRegistry::is_watched_as_gone(TaskId id) const {
  const std::lock_guard lock(watches_mutex_);
  return std::any_of(watches_.begin(), watches_.end(),
                     [id](ClientWatch* watch) { return watch->client_is_gone(id); });
}
}  // namespace vigil::leakwatch
