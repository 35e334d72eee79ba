// /debug/tasks for a browser: a form that filters, and columns that sort.
#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "endpoints/page.h"
#include "endpoints/services.h"
#include "leakwatch/task_registry.h"

namespace vigil::endpoints {

// Rows that the page shows, and those of them that show their request too.
inline constexpr std::size_t kTaskRowsMax = 1000;
inline constexpr std::size_t kTaskRequestsMax = 100;

// What a task is said to be, beyond its age.
struct TaskStates {
  MonotonicTime now{};
  std::unordered_set<leakwatch::TaskId> stuck;  // flagged by the watchdog

  // "stuck", "late", "streaming", "waiting", joined by commas; empty for a task like any other.
  std::string of(const leakwatch::TaskInfo& task) const;
};

// The page of `tasks`, which are filtered and sorted already as `request` says.
std::string tasks_html(const std::vector<leakwatch::TaskInfo>& tasks, const TaskStates& states,
                       const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
