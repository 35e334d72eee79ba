// /debug/tasks and /debug/leakwatch: what runs now, and what got stuck. Text; JSON with
// format=json.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// One line a task, oldest first: id, age, thread, label.
Page tasks_page(const PageRequest& request, const Services& services);

// The watchdog's state and its reports, newest first, each with its stack.
Page leakwatch_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
