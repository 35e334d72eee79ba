// Which stack created which thread.

#include <pthread.h>
#include <sys/resource.h>

#include <atomic>
#include <optional>

#include "tests/sampler/contention/hooked.h"
#include "tests/support/catch.h"

VIGIL_TEST_FUNCTION std::thread vigil_test_creator(std::atomic<bool>& stop) {
  std::thread thread([&stop] { stop.wait(false); });
  asm volatile("");
  return thread;
}

namespace vigil::sampler::test {
namespace {

using namespace std::chrono_literals;

struct Creators {
  std::int64_t total = 0;
  std::int64_t by_test = 0;
  std::int64_t before = 0;
  std::int64_t not_seen = 0;
};

Creators creators_of(Hooked& hooked) {
  const auto profile = hooked.profiler->thread_creators();
  if (!profile) throw std::runtime_error(profile.error().message());
  Creators creators;
  for (const StackSample& sample : profile->samples) {
    creators.total += sample.values[0];
    if (sample.stack.frames.front() == FrameAddress::made_up(0)) {
      creators.before += sample.values[0];
    } else if (sample.stack.frames.front() == FrameAddress::made_up(1)) {
      creators.not_seen += sample.values[0];
    } else if (has(frame_names(sample.stack), "vigil_test_creator")) {
      creators.by_test += sample.values[0];
      CHECK(frame_names(sample.stack)[0] == "pthread_create");
    }
  }
  CHECK(profile->made_up_frames.size() == 2);
  CHECK(profile->made_up_frames.at(FrameAddress::made_up(0)).function == "[created before vigil]");
  return creators;
}

TEST_CASE("threads are counted at the stack that created them, while they live") {
  std::atomic<bool> stop{false};
  std::thread older = vigil_test_creator(stop);
  std::optional<Hooked> hooked(std::in_place, 0ns);
  Creators creators = creators_of(*hooked);
  CHECK(creators.by_test == 0);
  CHECK(creators.before >= 2);  // this one and `older`
  const std::int64_t total = creators.total;

  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) threads.push_back(vigil_test_creator(stop));
  // A record counts from the thread's first instruction on.
  const MonotonicTime deadline = hooked->clock.now() + 10s;
  do {
    creators = creators_of(*hooked);
  } while (creators.by_test != 5 && hooked->clock.now() < deadline);
  CHECK(creators.by_test == 5);
  CHECK(creators.total == total + 5);

  stop = true;
  stop.notify_all();
  for (std::thread& thread : threads) thread.join();
  older.join();
  creators = creators_of(*hooked);
  CHECK(creators.by_test == 0);
  CHECK(creators.total == total - 1);
}

void* exit_early(void*) { pthread_exit(nullptr); }

TEST_CASE("records come back, however a thread ends, and when none could be made") {
  Hooked hooked(0ns);
  const std::uint64_t unseen = hooked.profiler->counters().threads_unseen;
  // More than there are records.
  for (int i = 0; i < 9'000; ++i) {
    pthread_t thread{};
    REQUIRE(pthread_create(&thread, nullptr, exit_early, nullptr) == 0);
    REQUIRE(pthread_join(thread, nullptr) == 0);
  }
  pthread_attr_t impossible;
  pthread_attr_init(&impossible);
  REQUIRE(pthread_attr_setstacksize(&impossible, std::size_t{1} << 46) == 0);
  for (int i = 0; i < 9'000; ++i) {
    pthread_t thread{};
    REQUIRE(pthread_create(&thread, &impossible, exit_early, nullptr) != 0);
  }
  pthread_attr_destroy(&impossible);
  CHECK(hooked.profiler->counters().threads_unseen == unseen);
}

}  // namespace
}  // namespace vigil::sampler::test
