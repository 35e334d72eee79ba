// A TaskRegistry's table: for task_registry.cc, which writes it, and task_readers.cc. Its model is in
// task_registry.h.
#pragma once

#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

// What a sequence says.
inline constexpr std::uint64_t kPhaseMask = 3;  // the low two bits of a slot's sequence
inline constexpr std::uint64_t kFree = 0;
inline constexpr std::uint64_t kWriting = 1;
inline constexpr std::uint64_t kLive = 2;
inline constexpr std::uint64_t kSpare = 3;
inline constexpr std::uint64_t kNextGeneration = 4;

inline std::uint64_t phase_of(std::uint64_t sequence) { return sequence & kPhaseMask; }
inline std::uint64_t generation_of(std::uint64_t sequence) { return sequence / kNextGeneration; }

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
// that were never used are not linked at all: `fresh` counts how many of this list's own slots have
// been handed out, which also bounds what a reader must look at. The n-th slot of list l is
// n * kLists + l in the table.
struct alignas(64) TaskRegistry::FreeList {
  static constexpr std::uint64_t pack(std::uint64_t tag, std::uint32_t slot) {
    return tag << 32 | slot;
  }
  std::atomic<std::uint64_t> head{pack(0, kNoSlot)};
  std::atomic<std::uint32_t> fresh{0};
};

// Numbers that people read aloud: the ids of a server with a handful of tasks at a time are small in
// its first generations, because the first slots are the first of each list.
inline TaskId TaskRegistry::id_of(std::uint32_t slot, std::uint64_t generation) const {
  return TaskId{generation * slots_per_list_ * kLists + slot + 1};
}
}  // namespace vigil::leakwatch
