// The routes of vigil-demo: what GET / shows as a table.
#pragma once

#include "base/result.h"
#include "server-core/router.h"

namespace demo {

// Adds every route to `router`. Their shared state (memory, mutexes, the gate) lives as long as a
// route does.
vigil::Result<void> add_routes(vigil::http::Router& router);

}  // namespace demo
