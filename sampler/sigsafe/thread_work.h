// What the calling thread works on, where a signal handler can read it: its task and its labels.
//
// One thread writes a WorkCell: its own. Its handler reads it between two instructions of that
// same thread, and a collector reads it from outside (thread_work.h). The thread-local is
// initial-exec and constant-initialized: a load relative to the thread pointer, never a first
// touch.
#pragma once

#include <atomic>
#include <cstdint>

namespace vigil::sampler {
struct WorkName;
}

namespace vigil::sampler::sigsafe {

// Labels as the handler knows them: something that lives while its count is not zero. The thread
// that labels are set on holds one reference, so a handler that adds one cannot come too late, and
// one that takes its own back is never the last.
struct CountedLabels {
  std::atomic<std::uint32_t> references{1};
};

// A copy of it.
struct WorkMark {
  const WorkName* name = nullptr;  // immortal; null: no task
  std::uint64_t task = 0;
  std::int64_t started_ns = 0;  // of the monotonic clock
  CountedLabels* labels = nullptr;
};

// The mark's three fields are guarded by `sequence`, odd while they are written: stored with
// release and loaded with acquire, so that who sees a new field also sees the new sequence.
struct WorkCell {
  std::atomic<std::uint64_t> sequence{0};
  std::atomic<const WorkName*> name{nullptr};
  std::atomic<std::uint64_t> task{0};
  std::atomic<std::int64_t> started_ns{0};
  std::atomic<CountedLabels*> labels{nullptr};
  // The innermost task, which is not always the marked one (thread_work.h). The thread's own
  // affair.
  std::uint64_t innermost_task = 0;
  bool is_listed = false;

  // The mark without labels; no task if it is being written.
  [[gnu::always_inline]] WorkMark read_task() const noexcept {
    const std::uint64_t before = sequence.load(std::memory_order_acquire);
    WorkMark mark;
    if ((before & 1) != 0) return mark;
    mark.name = name.load(std::memory_order_acquire);
    mark.task = task.load(std::memory_order_acquire);
    mark.started_ns = started_ns.load(std::memory_order_acquire);
    if (sequence.load(std::memory_order_acquire) != before) return {};
    return mark;
  }
};

extern constinit thread_local WorkCell t_work [[gnu::tls_model("initial-exec")]];

// For the handler, on the thread itself: the mark, with a reference to its labels, which is the
// caller's from then on.
[[gnu::always_inline]] inline WorkMark take_own_work() noexcept {
  WorkMark mark = t_work.read_task();
  mark.labels = t_work.labels.load(std::memory_order_relaxed);
  if (mark.labels != nullptr) mark.labels->references.fetch_add(1, std::memory_order_relaxed);
  return mark;
}

}  // namespace vigil::sampler::sigsafe
