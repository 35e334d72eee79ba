#include "sampler/cpu_profiler.h"

#include <time.h>

#include <algorithm>
#include <future>

#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {

namespace {
double own_cpu_seconds() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

void burn_cpu_seconds(double seconds) {
  const double until = own_cpu_seconds() + seconds;
  volatile double x = 1;
  while (own_cpu_seconds() < until) {
    for (int i = 0; i < 20000; ++i) x = x * 1.0000001;
  }
}
}  // namespace

// Exported, to be found by name.
[[gnu::noinline]] void test_burn_more(double seconds) {
  burn_cpu_seconds(seconds);
  asm volatile("");
}
[[gnu::noinline]] void test_burn_less(double seconds) {
  burn_cpu_seconds(seconds);
  asm volatile("" ::: "memory");
}

namespace {

using namespace std::chrono_literals;

struct Profiling : Sampling {
  CpuProfiler profiler{clock, modules, unwinder, *channel};

  // A capture on a thread of its own.
  std::future<StackProfile> start(int hz, std::stop_token stop) {
    return std::async(std::launch::async, [this, hz, stop] {
      auto profile = profiler.profile({.hz = hz, .deadline = clock.now() + 100s}, stop);
      return profile ? std::move(*profile) : StackProfile{};
    });
  }

  // Until the capture has armed the calling thread: its signals arrive.
  void await_samples() {
    const auto before = channel->counters().samples;
    const auto until = clock.now() + 20s;
    while (channel->counters().samples == before && clock.now() < until) burn_cpu_seconds(0.002);
  }
};

std::int64_t samples_with(const StackProfile& profile, std::string_view function) {
  std::int64_t total = 0;
  for (const StackSample& sample : profile.samples) {
    const auto names = frame_names(sample.stack);
    if (std::any_of(names.begin(), names.end(), [&](const std::string& name) {
          return name.find(function) != std::string::npos;
        })) {
      total += sample.values.at(0);
    }
  }
  return total;
}

TEST_CASE_METHOD(Profiling, "two threads that burn 75 to 25") {
  std::stop_source stop;
  auto capture = start(100, stop.get_token());
  await_samples();
  std::thread more([] { test_burn_more(1.5); });
  std::thread less([] { test_burn_less(0.5); });
  more.join();
  less.join();
  stop.request_stop();
  const StackProfile profile = capture.get();
  const double burned_more = static_cast<double>(samples_with(profile, "test_burn_more"));
  const double burned_less = static_cast<double>(samples_with(profile, "test_burn_less"));
  const double total = burned_more + burned_less;
  REQUIRE(total > 0);
  CHECK(burned_more / total == Approx(0.75).margin(0.03));
  CHECK(total == Approx(200).margin(10));
  REQUIRE(profile.sample_types.size() == 2);
  CHECK(profile.sample_types[0] == ValueType{"samples", "count"});
  CHECK(profile.sample_types[1] == ValueType{"cpu", "nanoseconds"});
  CHECK(profile.period == 10'000'000);
  for (const StackSample& sample : profile.samples) {
    REQUIRE(sample.values.size() == 2);
    CHECK(sample.values[1] == sample.values[0] * profile.period);
    CHECK(sample.stack.end == StackEnd::kComplete);
  }
  CHECK(profile.counters.at("samples_lost") == 0);
  CHECK(profile.counters.at("threads_unsampled") == 0);
  CHECK(profile.counters.at("stacks_truncated") == 0);
  CHECK(profile.counters.at("collector_cpu_ns") > 0);
}

TEST_CASE_METHOD(Profiling, "captures at once are each complete, each at its rate") {
  std::stop_source stop;
  auto slow = start(50, stop.get_token());
  auto fast = start(200, stop.get_token());
  await_samples();
  std::thread burner([] { test_burn_more(1.0); });
  burner.join();
  stop.request_stop();
  CHECK(samples_with(slow.get(), "test_burn_more") == Approx(50).margin(4));
  CHECK(samples_with(fast.get(), "test_burn_more") == Approx(200).margin(10));
}

TEST_CASE_METHOD(Profiling, "a thousand samples a second are exact in sum") {
  std::stop_source stop;
  auto capture = start(1000, stop.get_token());
  await_samples();
  std::thread burner([] { test_burn_more(1.0); });
  burner.join();
  stop.request_stop();
  const StackProfile profile = capture.get();
  CHECK(samples_with(profile, "test_burn_more") == Approx(1000).margin(50));
  CHECK(profile.period == 1'000'000);
}

TEST_CASE_METHOD(Profiling, "it ends at its deadline, and at once when stopped") {
  const auto begin = clock.now();
  REQUIRE(profiler.profile({.hz = 100, .deadline = begin + 50ms}, {}));
  CHECK(clock.now() - begin >= 50ms);
  CHECK(clock.now() - begin < 5s);
  std::stop_source stop;
  stop.request_stop();
  const auto again = clock.now();
  REQUIRE(profiler.profile({.hz = 100, .deadline = again + 100s}, stop.get_token()));
  CHECK(clock.now() - again < 5s);
}

TEST_CASE_METHOD(Profiling, "rates out of range are refused") {
  for (const int hz : {0, -1, 1001}) {
    const auto profile = profiler.profile({.hz = hz, .deadline = clock.now()}, {});
    REQUIRE_FALSE(profile);
    CHECK(profile.error().code() == ErrorCode::kInvalidArgument);
  }
  for (const int hz : {1, 1000}) {
    CHECK(profiler.profile({.hz = hz, .deadline = clock.now()}, {}));
  }
}

TEST_CASE_METHOD(Profiling, "threads that live 30 ms are seen") {
  std::stop_source stop;
  auto capture = start(100, stop.get_token());
  await_samples();
  constexpr int kThreads = 40;
  for (int i = 0; i < kThreads; ++i) std::thread([] { test_burn_less(0.03); }).join();
  stop.request_stop();
  const auto seen = samples_with(capture.get(), "test_burn_less");
  // 120 if all of each thread's time were covered; the scan for new threads comes 5 ms late on
  // average.
  CHECK(seen > 60);
  CHECK(seen <= 125);
}

}  // namespace
}  // namespace vigil::sampler
