#include "base/result.h"

#include <cerrno>
#include <system_error>

namespace vigil {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kDeadlineExceeded:
      return "deadline_exceeded";
    case ErrorCode::kPermissionDenied:
      return "permission_denied";
    case ErrorCode::kResourceExhausted:
      return "resource_exhausted";
    case ErrorCode::kClosed:
      return "closed";
    case ErrorCode::kSystem:
      return "system";
  }
  return "unknown";
}

namespace {

ErrorCode code_of_errno(int errno_value) {
  switch (errno_value) {
    case EINVAL:
      return ErrorCode::kInvalidArgument;
    case ENOENT:
    case ESRCH:
      return ErrorCode::kNotFound;
    case EBUSY:
    case EADDRINUSE:
    case EAGAIN:
      return ErrorCode::kBusy;
    case ENOSYS:
    case EOPNOTSUPP:
      return ErrorCode::kUnsupported;
    case ETIMEDOUT:
      return ErrorCode::kDeadlineExceeded;
    case EPERM:
    case EACCES:
      return ErrorCode::kPermissionDenied;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
      return ErrorCode::kResourceExhausted;
    case EPIPE:
    case ECONNRESET:
      return ErrorCode::kClosed;
    default:
      return ErrorCode::kSystem;
  }
}

}  // namespace

Error Error::from_errno(std::string_view what, int errno_value) {
  std::string message(what);
  message += ": ";
  message += std::generic_category().message(errno_value);
  return Error(code_of_errno(errno_value), std::move(message));
}

Error Error::with_context(std::string_view context) && {
  std::string message(context);
  message += ": ";
  message += message_;
  return Error(code_, std::move(message));
}

}  // namespace vigil
