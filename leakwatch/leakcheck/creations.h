// Where threads, descriptors, timers, child processes and tasks were created, and in which scope.
//
// A table that vigil::creation_stacks writes (creation_stacks.h) and the leak check reads. Where
// that target is not linked it stays empty, and costs address space only.
//
// A record is written by the thread that creates, inside the interposed call: no allocation, no
// lock. `ticket` is odd while a record is written (the protocol of leakwatch/task_registry.h). A
// record says what it is about, so that a reader can tell a stale one: the id, and for a descriptor
// the file's device and inode, because a number may be closed and given out again behind our back.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "leakwatch/scope.h"
#include "sampler/address.h"

namespace vigil::leakwatch {

enum class ResourceKind : std::uint8_t { kTask, kThread, kDescriptor, kSocket, kTimer, kProcess };

inline constexpr std::size_t kCreationFramesMax = 32;
// Descriptors from this number on have no record.
inline constexpr std::size_t kCreationDescriptorsMax = 16'384;
// Live threads, processes, timers and tasks with a record; more replace the oldest of their set.
inline constexpr std::size_t kCreationRecords = 8'192;

struct Creation {
  std::uint64_t serial = 0;  // 1, 2, 3 … over all records of the process
  ScopeId scope = ScopeId::kNone;
  sampler::Stack stack;  // innermost first: the caller of the creating function
};

// The record of a live resource; nullopt if there is none. Thread-safe. Allocates.
std::optional<Creation> find_creation(ResourceKind kind, std::uint64_t id);

// Whether this program notes creations at all.
bool creations_are_noted() noexcept;

// --- For vigil::creation_stacks. All keep errno. ---

// Who creates, before it is known what: a new thread's id is known to that thread only.
struct Creator {
  ScopeId scope = ScopeId::kNone;
  std::uint32_t count = 0;
  bool complete = false;
  std::array<std::uintptr_t, kCreationFramesMax> return_addresses;
};
// The calling thread. `own_frames`: how many of the innermost frames belong to us, this function's
// own included.
void capture_creator(Creator& creator, int own_frames) noexcept;
void note_creation(ResourceKind kind, std::uint64_t id, const Creator& creator) noexcept;

// Both in one.
void note_creation(ResourceKind kind, std::uint64_t id, int own_frames) noexcept;
void forget_creation(ResourceKind kind, std::uint64_t id) noexcept;

// For fork(): the child's table is its own from now on. (In a vfork'ed child, which writes to its
// parent's memory, nothing is noted.)
void adopt_creations_after_fork() noexcept;

}  // namespace vigil::leakwatch
