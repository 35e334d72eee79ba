// Result<T>: a value, or an Error that says what the world did.
//
//   Result<UniqueFd> fd = open_listener(endpoint);
//   if (!fd) return std::move(fd).error().with_context("cannot start the debug listener");
//   use(fd->get());
//
// An assertion is for our own bugs, a Result for what the world does (busy, refused, too slow).
// Context is added on the way up; only `endpoints/` turns a code into an HTTP status. Not for
// signal handlers: a message allocates.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace vigil {

enum class ErrorCode : std::uint8_t {
  kInvalidArgument,    // the caller's input cannot mean anything; retrying does not help
  kNotFound,           // the named thing is not there, or not there any more
  kBusy,               // somebody else holds it, or a cap is reached; retrying later may help
  kUnsupported,        // this build, kernel or allocator cannot; the message says what to do
  kDeadlineExceeded,   // it did not happen in time
  kPermissionDenied,   // the system or a rule of ours refuses
  kResourceExhausted,  // memory, descriptors or threads ran out
  kClosed,             // the other side, or we, ended it
  kSystem,             // any other failed system call; the message has its name and errno
};

// The code's name as written in logs: "invalid_argument", …
std::string_view error_code_name(ErrorCode code);

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  // The Error of a failed system call: its code is derived from `errno_value`, its message is
  // "<what>: <strerror>". Call it first thing after the failure.
  static Error from_errno(std::string_view what, int errno_value);

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same error, its message prefixed with "<context>: ".
  Error with_context(std::string_view context) &&;

 private:
  ErrorCode code_;
  std::string message_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  explicit operator bool() const { return state_.index() == 0; }
  bool ok() const { return state_.index() == 0; }

  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit

  explicit operator bool() const { return !error_; }
  bool ok() const { return !error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

}  // namespace vigil
