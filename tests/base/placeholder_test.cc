#include "base/placeholder.h"

#include <fcntl.h>
#include <unistd.h>

#include "tests/support/catch.h"

namespace vigil {
namespace {

bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST_CASE("a placeholder keeps its number until it is dropped, and closes on exec") {
  UniqueFd placeholder = take_placeholder();
  REQUIRE(placeholder);
  const int number = placeholder.get();
  CHECK(fcntl(number, F_GETFD) == FD_CLOEXEC);
  drop_placeholder(std::move(placeholder));
  CHECK_FALSE(is_open(number));
}

TEST_CASE("a placeholder's number that others use by now is left to them") {
  UniqueFd placeholder = take_placeholder();
  const int number = placeholder.get();
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  REQUIRE(dup2(ends[0], number) == number);  // as a program that took the number
  drop_placeholder(std::move(placeholder));
  CHECK(is_open(number));
  ::close(number);

  UniqueFd closed = take_placeholder();
  const int gone = closed.get();
  ::close(gone);  // as closefrom(3)
  drop_placeholder(std::move(closed));
  CHECK_FALSE(is_open(gone));
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace vigil
