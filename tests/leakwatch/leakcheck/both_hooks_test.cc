// A program that links vigil::contention and vigil::creation_stacks: both define pthread_create.
#include <atomic>

#include "leakwatch/leakcheck/leak_check.h"
#include "sampler/contention_profiler.h"
#include "tests/leakwatch/leakcheck/leaky.h"
#include "tests/sampler/contention/hooked.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

bool has_creator(const std::vector<sampler::TextFrame>& frames) {
  return std::any_of(frames.begin(), frames.end(), [](const sampler::TextFrame& frame) {
    return frame.function == "vigil::test::leaky_begin_thread";
  });
}

// Of the threads that live, how many the contention profiler saw being created by it.
std::int64_t created_by_leaky(sampler::test::Hooked& hooked) {
  const auto profile = hooked.profiler->thread_creators();
  if (!profile) throw std::runtime_error(profile.error().message());
  std::int64_t count = 0;
  for (const sampler::StackSample& sample : profile->samples) {
    const auto names = sampler::frame_names(sample.stack);
    const bool leaky = std::any_of(names.begin(), names.end(), [](const std::string& name) {
      return name.find("leaky_begin_thread") != std::string::npos;
    });
    if (leaky) count += sample.values[0];
  }
  return count;
}

TEST_CASE("both interposers of pthread_create know who made a thread") {
  sampler::test::Hooked hooked(std::chrono::nanoseconds(0));
  LeakCheck check({}, hooked.clock);
  const test::End end = test::leaky_begin_thread();
  const std::int64_t seen = created_by_leaky(hooked);
  const LeakReport report = check.finish();
  end();
  CHECK(seen == 1);
  REQUIRE(report.leaks.size() == 1);
  CHECK(has_creator(report.leaks[0].created));
  CHECK(created_by_leaky(hooked) == 0);
}

TEST_CASE("a thread is in its creator's scope through both, also with the profiler off") {
  SystemClock clock;
  const ScopeGuard scope(new_scope());
  std::atomic<ScopeId> inside{ScopeId::kNone};
  std::thread([&] { inside = current_scope(); }).join();
  CHECK(inside == current_scope());
}

}  // namespace
}  // namespace vigil::leakwatch
