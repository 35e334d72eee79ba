// What each thread works on: the collectors' view of sigsafe/thread_work.h, and the writers' part.
//
//   ThreadWork work = work_of_thread(tid);
//   OuterWork outer = enter_task({name, id, now});      // leakwatch::Task, at its begin
//   leave_task(outer);                                  // and at its end
//
// Which task a sample belongs to: the innermost one, unless it is nested in one that is named after
// an HTTP route and is not so itself. A handler's inner tasks are part of its request.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "sampler/labels.h"
#include "sampler/sigsafe/thread_work.h"

namespace vigil::sampler {

// A task's name, taken apart: "GET /orders/{id}" is the method GET and the route /orders/{id}. A
// name without a method is all route ("nightly export").
struct WorkName {
  std::string text;
  std::string_view method;  // of `text`; empty without
  std::string_view route;
};

// The two parts. A method is capital letters before " /". Pure.
struct NameParts {
  std::string_view method;
  std::string_view route;
};
NameParts split_name(std::string_view text);

// The WorkName of `text`, the same one for the same text. It is never freed, because a sample that
// names it may wait in a slot when whoever made it is gone: for bounded sets of names, not for text
// that a client chooses. Thread-safe; a lock and, the first time, an allocation.
const WorkName* work_name(std::string_view text);

// One thread's work as a collector saw it.
struct ThreadWork {
  const WorkName* name = nullptr;  // null: no task
  std::uint64_t task = 0;          // 0: none, or one that is not in a registry
  MonotonicTime started{};
  LabelsRef labels;
};

// Of a mark that a handler left in a slot; shares its labels.
ThreadWork work_of(const sigsafe::WorkMark& mark);
// Of the calling thread.
ThreadWork own_work();

// Of any thread of this process. Empty if it has none, or began or ended a task just now. A thread
// that stays blocked around the call (read_run_witness) has had it all the while. Thread-safe; two
// locks, that a thread takes when it begins and ends, and when it sets labels.
ThreadWork work_of_thread(pid_t tid);

// The threads that have a task now, ascending.
std::vector<pid_t> threads_with_tasks();

// --- For leakwatch::Task, on the task's own thread.

struct TaskWork {
  const WorkName* name = nullptr;
  std::uint64_t task = 0;
  MonotonicTime started{};
};

// What the thread worked on before.
struct OuterWork {
  const WorkName* name = nullptr;
  std::uint64_t task = 0;
  std::int64_t started_ns = 0;
  std::uint64_t innermost_task = 0;
};

// Makes the calling thread known to work_of_thread(), until it ends. Once a thread; takes a lock.
void list_this_thread() noexcept;

namespace detail {
inline void write_mark(sigsafe::WorkCell& work, const WorkName* name, std::uint64_t task,
                       std::int64_t started_ns) noexcept {
  const std::uint64_t sequence = work.sequence.load(std::memory_order_relaxed);
  work.sequence.store(sequence + 1, std::memory_order_relaxed);
  work.name.store(name, std::memory_order_release);
  work.task.store(task, std::memory_order_release);
  work.started_ns.store(started_ns, std::memory_order_release);
  work.sequence.store(sequence + 2, std::memory_order_release);
}
}  // namespace detail

// The innermost task of the calling thread; 0 outside any.
inline std::uint64_t innermost_task() noexcept { return sigsafe::t_work.innermost_task; }

// Some ten loads and stores; no lock, no allocation (but for a thread's first, see
// list_this_thread).
inline OuterWork enter_task(const TaskWork& task) noexcept {
  sigsafe::WorkCell& work = sigsafe::t_work;
  if (!work.is_listed) list_this_thread();
  const OuterWork outer{work.name.load(std::memory_order_relaxed),
                        work.task.load(std::memory_order_relaxed),
                        work.started_ns.load(std::memory_order_relaxed), work.innermost_task};
  if (task.task != 0) work.innermost_task = task.task;
  const bool is_part_of_request = outer.name != nullptr && !outer.name->method.empty() &&
                                  (task.name == nullptr || task.name->method.empty());
  if (!is_part_of_request) {
    detail::write_mark(work, task.name, task.task, task.started.time_since_epoch().count());
  }
  return outer;
}

inline void leave_task(const OuterWork& outer) noexcept {
  sigsafe::WorkCell& work = sigsafe::t_work;
  work.innermost_task = outer.innermost_task;
  if (work.name.load(std::memory_order_relaxed) != outer.name ||
      work.task.load(std::memory_order_relaxed) != outer.task) {
    detail::write_mark(work, outer.name, outer.task, outer.started_ns);
  }
}

// --- For LabelScope, on its own thread.

// Makes `labels` the thread's; gives what it had.
LabelsRef exchange_labels(LabelsRef labels);

}  // namespace vigil::sampler
