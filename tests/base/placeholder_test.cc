#include "base/placeholder.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <utility>
#include <vector>

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

TEST_CASE("placeholders are given one by one or all, and what is missing is taken again") {
  Placeholders kept(3);
  CHECK(kept.held() == 0);
  CHECK(kept.missing() == 3);
  CHECK_FALSE(kept.give_one());
  kept.restock();
  kept.restock();  // no more than wanted
  CHECK(kept.held() == 3);
  CHECK(kept.missing() == 0);
  REQUIRE(kept.give_one());
  CHECK(kept.held() == 2);
  CHECK(kept.missing() == 1);
  kept.give_all();
  CHECK(kept.held() == 0);
  CHECK(kept.missing() == 3);
  CHECK_FALSE(kept.give_one());
}

TEST_CASE("placeholders of a process at its limit: one that is given is one that can be opened") {
  Placeholders kept(2);
  kept.restock();
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  const UniqueFd next = take_placeholder();  // the lowest free number; the limit is one above
  const rlimit at_limit{static_cast<rlim_t>(next.get()) + 1, before.rlim_max};
  std::vector<UniqueFd> filling;  // numbers below that others left free
  REQUIRE(setrlimit(RLIMIT_NOFILE, &at_limit) == 0);
  while (UniqueFd each = take_placeholder()) filling.push_back(std::move(each));
  const bool gave = kept.give_one();
  UniqueFd opened = take_placeholder();
  const UniqueFd second = take_placeholder();
  kept.restock();  // there is none to be had
  const std::size_t held_at_limit = kept.held();
  const bool was_opened = static_cast<bool>(opened);
  opened.reset();
  kept.restock();
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(gave);
  CHECK(was_opened);
  CHECK_FALSE(second);
  CHECK(held_at_limit == 1);
  CHECK(kept.held() == 2);
}

}  // namespace
}  // namespace vigil
