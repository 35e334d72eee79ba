// Descriptors and memory that are kept back.
#include "endpoints/reserves.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <cerrno>
#include <vector>

#include "base/fd.h"
#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

UniqueFd open_one() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

// Leaves this process without a descriptor, until it is destroyed.
class NoDescriptors {
 public:
  NoDescriptors() {
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before_) == 0);
    rlimit low = before_;
    low.rlim_cur = 64;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    while (UniqueFd next = open_one()) taken_.push_back(std::move(next));
    REQUIRE(errno == EMFILE);
  }
  ~NoDescriptors() {
    taken_.clear();
    setrlimit(RLIMIT_NOFILE, &before_);
  }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

  void give_back_one() { taken_.pop_back(); }

 private:
  rlimit before_{};
  std::vector<UniqueFd> taken_;
};

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

}  // namespace
}  // namespace vigil::endpoints
