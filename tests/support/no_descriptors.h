// A process without descriptors, for tests of what then happens.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "tests/support/catch.h"

namespace vigil::test {

inline UniqueFd open_one() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

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

}  // namespace vigil::test
