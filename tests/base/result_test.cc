#include "base/result.h"

#include <cerrno>
#include <memory>

#include "tests/support/catch.h"

namespace vigil {
namespace {

TEST_CASE("a Result holds a value or an error, never both") {
  Result<int> good = 7;
  REQUIRE(good.ok());
  CHECK(*good == 7);

  Result<int> bad = Error(ErrorCode::kBusy, "the profiler is running");
  REQUIRE_FALSE(bad.ok());
  CHECK(bad.error().code() == ErrorCode::kBusy);
  CHECK(bad.error().message() == "the profiler is running");
}

TEST_CASE("a Result gives up a move-only value") {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(3);
  std::unique_ptr<int> value = *std::move(result);
  CHECK(*value == 3);
}

TEST_CASE("Result<void> is success until it is given an error") {
  CHECK(Result<void>().ok());
  const Result<void> failed = Error(ErrorCode::kClosed, "gone");
  CHECK_FALSE(failed.ok());
  CHECK(failed.error().message() == "gone");
}

TEST_CASE("context is added in front of the message and the code stays") {
  const Error error = Error::from_errno("bind", EADDRINUSE).with_context("debug listener");
  CHECK(error.code() == ErrorCode::kBusy);
  CHECK(error.message() == "debug listener: bind: Address already in use");
}

TEST_CASE("errno values map to what a caller can do about them") {
  const auto code = [](int value) { return Error::from_errno("x", value).code(); };
  CHECK(code(EACCES) == ErrorCode::kPermissionDenied);
  CHECK(code(EMFILE) == ErrorCode::kResourceExhausted);
  CHECK(code(ENOSYS) == ErrorCode::kUnsupported);
  CHECK(code(ESRCH) == ErrorCode::kNotFound);
  CHECK(code(EIO) == ErrorCode::kSystem);
}

}  // namespace
}  // namespace vigil
