// A program that links another interposer of pthread_create beside vigil::creation_stacks.

#include <pthread.h>

#include <algorithm>
#include <atomic>

#include "leakwatch/leakcheck/creation_stacks.h"
#include "leakwatch/leakcheck/leak_check.h"
#include "tests/leakwatch/leakcheck/leaky.h"
#include "tests/support/catch.h"

namespace {
constinit std::atomic<int> created{0};
}  // namespace

// Ours is weak, so this one is the program's, and passes on.
extern "C" __attribute__((visibility("default"))) int pthread_create(
    pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
    void* argument) noexcept {
  ++created;
  return vigil_creation_stacks_pthread_create(thread, attributes, start, argument);
}

namespace vigil::leakwatch {
namespace {

TEST_CASE("another definition of pthread_create links, passes on, and creators are known") {
  SystemClock clock;
  LeakCheck check({}, clock);
  const int before = created;
  const test::End end = test::leaky_begin_thread();
  const LeakReport report = check.finish();
  end();
  CHECK(created == before + 1);
  REQUIRE(report.leaks.size() == 1);
  CHECK(std::any_of(report.leaks[0].created.begin(), report.leaks[0].created.end(),
                    [](const sampler::TextFrame& frame) {
                      return frame.function == "vigil::test::leaky_begin_thread";
                    }));
}

}  // namespace
}  // namespace vigil::leakwatch
