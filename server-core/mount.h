// strip_prefix: a handler that was written for the root, below a path (Go's StripPrefix).
//
//   router.handle("/api/", strip_prefix("/api")(api));      // api sees "/orders" for "/api/orders"
#pragma once

#include <string>

#include "server-core/middleware.h"

namespace vigil::http {

// The handler inside sees path() and raw_path() without `prefix`, such as "/api": a "/", then
// letters, digits and "-._~/", not with a "/" at its end. 404 for a path without it. target() and
// the access log keep the whole path. What a router inside redirects to lacks the prefix, as in Go:
// give such a router the whole paths instead. Cost: none to speak of; no allocation.
Middleware strip_prefix(std::string prefix);

}  // namespace vigil::http
