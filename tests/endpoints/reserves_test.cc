// Descriptors and memory that are kept back.
#include "endpoints/reserves.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/fd.h"
#include "endpoints/metrics.h"
#include "tests/support/catch.h"
#include "tests/support/no_descriptors.h"

namespace vigil::endpoints {
namespace {

using test::NoDescriptors;
using test::open_one;

// How many can be opened at once.
std::size_t openable() {
  std::vector<UniqueFd> all;
  while (all.size() < 100) {
    UniqueFd next = open_one();
    if (!next) break;
    all.push_back(std::move(next));
  }
  return all.size();
}

TEST_CASE("descriptors are lent only when there is none left, and taken back") {
  Reserves reserves({.descriptors = 5, .memory_bytes = 0});
  CHECK(reserves.descriptors_held() == 5);
  CHECK(reserves.lend_descriptors() == nullptr);  // no need
  CHECK(reserves.descriptors_held() == 5);
  NoDescriptors none;
  CHECK(openable() == 0);
  {
    const Reserves::Loan first = reserves.lend_descriptors();
    REQUIRE(first != nullptr);
    CHECK(openable() == 5);
    const Reserves::Loan second = reserves.lend_descriptors();
    CHECK(openable() == 5);  // shared
  }
  CHECK(reserves.descriptors_held() == 5);
  CHECK(openable() == 0);
}

TEST_CASE("a loan that others have eaten into is made good when there is room again") {
  Reserves reserves({.descriptors = 3, .memory_bytes = 0});
  NoDescriptors none;
  std::vector<UniqueFd> eaten;
  {
    const Reserves::Loan loan = reserves.lend_descriptors();
    eaten.push_back(open_one());
    eaten.push_back(open_one());
  }
  CHECK(reserves.descriptors_held() == 1);
  eaten.clear();
  const Reserves::Loan next = reserves.lend_descriptors();
  CHECK(next != nullptr);
  CHECK(openable() == 3);
}

TEST_CASE("reserves that start without a descriptor left take what comes free later") {
  NoDescriptors none;
  Reserves reserves({.descriptors = 2, .memory_bytes = 0});
  CHECK(reserves.descriptors_held() == 0);
  none.give_back_one();
  none.give_back_one();
  none.give_back_one();
  CHECK(reserves.lend_descriptors() == nullptr);
  CHECK(reserves.descriptors_held() == 2);
}

TEST_CASE("memory is given back once, and taken again") {
  Reserves reserves({.descriptors = 0, .memory_bytes = 1 << 20});
  CHECK(reserves.memory_held());
  CHECK(reserves.release_memory());
  CHECK_FALSE(reserves.memory_held());
  CHECK_FALSE(reserves.release_memory());
  reserves.restock_memory();
  CHECK(reserves.memory_held());
}

TEST_CASE("a child of a fork has none of the memory that its parent keeps back") {
  constexpr std::size_t kBytes = 64 << 20;
  const Reserves reserves({.descriptors = 0, .memory_bytes = kBytes});
  REQUIRE(reserves.memory_held());
  const auto before = process_figures().resident_bytes;
  REQUIRE(before > kBytes);
  const pid_t child = ::fork();
  // It may have pages that its parent has not touched yet: half is far from none and from all.
  if (child == 0) ::_exit(process_figures().resident_bytes < before - kBytes / 2 ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

}  // namespace
}  // namespace vigil::endpoints
