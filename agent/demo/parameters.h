// The parameters of the demo's routes, from the query.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "server-core/request.h"
#include "server-core/response_writer.h"

namespace demo {

// The number in the query, or `otherwise` if it is not there. Answers 400 with the parameter's
// name, and gives nullopt, if it is no number in [0, max].
std::optional<std::int64_t> number_of(vigil::http::ResponseWriter& response,
                                      const vigil::http::Request& request, std::string_view name,
                                      std::int64_t otherwise, std::int64_t max);

// Likewise ?ms=N, an hour at most.
std::optional<std::chrono::milliseconds> milliseconds_of(vigil::http::ResponseWriter& response,
                                                         const vigil::http::Request& request,
                                                         std::int64_t otherwise);

}  // namespace demo
