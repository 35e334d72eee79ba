#include "agent/demo/parameters.h"

#include <fmt/core.h>

#include "base/text.h"

namespace demo {

using vigil::http::Request;
using vigil::http::ResponseWriter;

std::optional<std::int64_t> number_of(ResponseWriter& response, const Request& request,
                                      std::string_view name, std::int64_t otherwise,
                                      std::int64_t max) {
  const auto text = request.query(name);
  if (!text) return otherwise;
  const auto value = vigil::parse_integer(*text, 0, max);
  if (value) return *value;
  vigil::http::write_error(response, 400, fmt::format("{}: {}", name, value.error().message()));
  return std::nullopt;
}

std::optional<std::chrono::milliseconds> milliseconds_of(ResponseWriter& response,
                                                         const Request& request,
                                                         std::int64_t otherwise) {
  constexpr std::int64_t kMillisecondsMax = 3'600'000;
  const auto value = number_of(response, request, "ms", otherwise, kMillisecondsMax);
  if (!value) return std::nullopt;
  return std::chrono::milliseconds(*value);
}

}  // namespace demo
