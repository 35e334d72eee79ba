// Deadlocks among the threads that run tasks, reported as soon as they are seen.
//
//   DeadlockWatch watch(stacks);
//   for (const DeadlockReport& found : watch.step(live, deadline)) …    // each pass of the watchdog
//
// A pass asks which task's threads wait for a lock, and for whom (StackSource::lock_waits), however
// young the tasks are. A cycle is looked at a second time at once: if no thread in it has run since,
// nothing can ever resolve it but the end of the process. Only then are stacks taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "leakwatch/lock_graph.h"
#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

// One thread of a deadlock.
struct DeadlockParty {
  WaitEdge waits;                // for which lock, and who holds it
  std::optional<TaskInfo> task;  // the innermost one that it runs
  LiveStack stack;
};

struct DeadlockReport {
  std::uint64_t number = 0;  // 1, 2, 3 … in the order of finding
  WallTime seen_at{};
  bool over = false;  // its threads go on, or have ended
  std::vector<DeadlockParty> parties;
};

// For people: one paragraph a thread, with its task, what it waits for and its stack. Pure.
//
//   thread 4711 vigil-work-3 in task 12 GET /deadlock
//   waits for mutex 0x5581… held by thread 4712
//   where: demo::lock_both (work.cc:140) < demo::deadlock_ab (routes.cc:145)
//   demo::lock_both(...)
//   	/src/demo/work.cc:140 +0x31
std::string format_deadlock(const DeadlockReport& report);

// Not thread-safe: the watchdog's passes take turns.
class DeadlockWatch {
 public:
  // `stacks` must outlive it.
  explicit DeadlockWatch(StackSource& stacks) : stacks_(stacks) {}

  // What is new in this pass, without number and time. `live`: all live tasks.
  std::vector<DeadlockReport> step(std::span<const TaskInfo> live, MonotonicTime deadline);

  // Whether the last step saw that the threads of `report` still wait for each other.
  bool is_present(const DeadlockReport& report) const;

  // Threads that one pass looks at, not counting those of known deadlocks and the owners that are
  // found on the way. With more, the passes take turns.
  static constexpr std::size_t kThreadsMax = 1024;

 private:
  std::vector<pid_t> threads_to_look_at(std::span<const TaskInfo> live);
  DeadlockReport report_of(const WaitCycle& cycle, std::span<const TaskInfo> live,
                           MonotonicTime deadline);

  StackSource& stacks_;
  std::vector<WaitCycle> present_;  // edges without their witness
  std::size_t next_thread_ = 0;
};

}  // namespace vigil::leakwatch
