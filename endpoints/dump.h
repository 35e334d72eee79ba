// The dump of everything that lives: tasks with their stacks, then the threads without a task.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"

namespace vigil::endpoints {

// Go's `debug=2` shape, one block a task, oldest first, then one a thread without task; blank lines
// between:
//
//   goroutine 12 [futex wait, 3 minutes, labels:{"method":"GET","route":"/stuck"}]:
//   demo::wait_forever(...)
//   	/src/demo/routes.cc:81 +0x31
//   # task 12: GET /stuck, age 3m12s, thread 4711 vigil-work-3
//
// A task's number is its id; a thread's is the kernel's. Minutes appear from one on, as in Go; the
// last line has the exact age. A thread that could not be captured keeps its block, with the reason
// in brackets. A task that waits on no thread shows what is in `awaits` for it: the functions that
// await one another. Pure.
using AwaitStacks = std::unordered_map<leakwatch::TaskId, leakwatch::LiveStack>;
std::string format_dump(const std::vector<leakwatch::TaskInfo>& tasks,
                        const std::vector<leakwatch::LiveStack>& stacks, MonotonicTime now,
                        const AwaitStacks& awaits = {});

// Of those of `tasks` that wait on no thread.
AwaitStacks await_stacks(const leakwatch::TaskRegistry& registry,
                         const std::vector<leakwatch::TaskInfo>& tasks);

}  // namespace vigil::endpoints
