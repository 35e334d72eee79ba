// The routes of vigil-demo: what GET / shows as a table.
#pragma once

#include "base/result.h"
#include "server-core/router.h"
#include "server-core/timeout_pool.h"

namespace demo {

// Adds every route to `router`. Their shared state (memory, mutexes, the gate) lives as long as a
// route does. /slow and /leak run on `timed`, which must outlive the router.
vigil::Result<void> add_routes(vigil::http::Router& router, vigil::http::TimeoutPool& timed);

}  // namespace demo
