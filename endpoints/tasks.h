// /debug/tasks and /debug/leakwatch: what runs now, and what got stuck. Text; JSON with
// format=json.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// One line a task: id, age, thread, label. Those that the query asks for: route (a part of the
// label), min_age ("500ms"), state (streaming, late), sorted by age (oldest first), label or thread.
Page tasks_page(const PageRequest& request, const Services& services);

// The watchdog's state and its reports, newest first, each with its stack. Text; format=json, html
// (loads itself again) and pprof.
Page leakwatch_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
