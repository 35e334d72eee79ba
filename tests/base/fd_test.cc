#include "base/fd.h"

#include <fcntl.h>

#include <cerrno>

#include "tests/support/catch.h"

namespace vigil {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST_CASE("a UniqueFd closes what it owns, once") {
  const int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    UniqueFd fd(raw);
    CHECK(is_open(raw));
    UniqueFd moved = std::move(fd);
    CHECK_FALSE(fd);
    CHECK(moved.get() == raw);
  }
  CHECK_FALSE(is_open(raw));
}

TEST_CASE("a released descriptor is the caller's") {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int raw = fd.release();
  fd.reset();
  CHECK(is_open(raw));
  ::close(raw);
}

TEST_CASE("closing keeps errno") {
  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  errno = ENOENT;
  fd.reset();
  CHECK(errno == ENOENT);
}

}  // namespace
}  // namespace vigil
