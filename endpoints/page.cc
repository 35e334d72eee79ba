#include "endpoints/page.h"

#include <limits>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::endpoints {

Page text_page(std::string body) {
  Page page;
  page.body = std::move(body);
  return page;
}

Page html_page(std::string document) {
  Page page;
  page.content_type = "text/html; charset=utf-8";
  page.body = std::move(document);
  return page;
}

Page error_page(int status, std::string_view message) {
  Page page;
  page.status = status;
  page.body = fmt::format("{}\n", message);
  page.pprof_error = true;
  return page;
}

Page error_page(const Error& error) {
  const auto status = [&] {
    switch (error.code()) {
      case ErrorCode::kInvalidArgument:
        return 400;
      case ErrorCode::kPermissionDenied:
        return 403;
      case ErrorCode::kNotFound:
        return 404;
      case ErrorCode::kDeadlineExceeded:
      case ErrorCode::kClosed:
        return 408;
      case ErrorCode::kBusy:
        return 429;
      case ErrorCode::kUnsupported:
        return 501;
      case ErrorCode::kResourceExhausted:
      case ErrorCode::kSystem:
        return 500;
    }
    return 500;
  };
  return error_page(status(), error.message());
}

int lenient_integer(const PageRequest& request, std::string_view name) {
  const auto value = parse_integer(request.query.get(name).value_or(""), 0,
                                   std::numeric_limits<std::int32_t>::max());
  return value ? static_cast<int>(*value) : 0;
}

Result<std::optional<int>> seconds_parameter(const PageRequest& request, int seconds_max) {
  const auto text = request.query.get("seconds");
  if (!text) return std::optional<int>();
  const auto seconds = parse_integer(*text, 1, std::numeric_limits<std::int32_t>::max());
  if (!seconds) {
    return Error(ErrorCode::kInvalidArgument,
                 "invalid value for \"seconds\" - must be a positive integer");
  }
  if (*seconds > seconds_max) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("invalid value for \"seconds\" - at most {}", seconds_max));
  }
  return std::optional<int>(static_cast<int>(*seconds));
}

}  // namespace vigil::endpoints
