#include "base/thread_id.h"

#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "tests/support/catch.h"

namespace vigil {
namespace {

TEST_CASE("each thread knows its own id") {
  CHECK(current_thread_id() == ::gettid());
  pid_t other = 0;
  pid_t expected = 0;
  std::thread([&] {
    other = current_thread_id();
    expected = ::gettid();
  }).join();
  CHECK(other == expected);
  CHECK(other != current_thread_id());
}

TEST_CASE("a forked child does not remember its parent's thread") {
  current_thread_id();
  const pid_t child = ::fork();
  if (child == 0) _exit(current_thread_id() == ::gettid() ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace vigil
