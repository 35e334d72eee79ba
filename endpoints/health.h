// /healthz and /readyz: for an orchestrator's probes.
#pragma once

#include "endpoints/page.h"
#include "endpoints/services.h"

namespace vigil::endpoints {

// GET /healthz: "ok". That it answers is the answer: the process runs and its debug listener works,
// which says nothing of its own threads. A stuck handler is no reason to kill a process, or the stack
// that shows why is gone: /debug/leakwatch.
Page health_page(const PageRequest& request, const Services& services);

// GET /readyz: 200 if every server that the program has added serves, 503 while one does not (yet, or
// because it drains or is closed); a line for each. 200 where none was added: then nothing is known.
Page ready_page(const PageRequest& request, const Services& services);

}  // namespace vigil::endpoints
