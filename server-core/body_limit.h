// body_limit: request bodies of some routes may be no longer than this (Go's MaxBytesHandler).
//
//   router.handle("POST /comments", body_limit(64 * 1024)(post_comment));
#pragma once

#include <cstdint>

#include "server-core/middleware.h"

namespace vigil::http {

// Calls Request::limit_body(bytes_max) for each request: reading beyond it is an error, 413 if the
// handler answers nothing, and the connection closes. The server's max_body_bytes still holds.
Middleware body_limit(std::uint64_t bytes_max);

}  // namespace vigil::http
