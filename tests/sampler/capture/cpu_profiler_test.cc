#include "sampler/cpu_profiler.h"

#include <dlfcn.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <string>
#include <thread>

#include "base/thread_id.h"
#include "sampler/proc_file.h"
#include "tests/sampler/capture/burners.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {

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
    // What a thread used behind its last sample has no stack.
    if (!sample.stack.frames.empty()) CHECK(sample.stack.end == StackEnd::kComplete);
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

TEST_CASE_METHOD(Profiling, "libraries that are loaded and unloaded meanwhile are in the profile") {
  using Burn = long (*)(long);
  std::stop_source stop;
  auto capture = start(250, stop.get_token());
  await_samples();
  // Loaded for 150 ms at a time: the module table is read again after 100, at code that it does not know.
  double seconds = 0;
  int loads = 0;
  std::thread loader([&] {
    for (; loads < 8; ++loads) {
      void* library = dlopen(VIGIL_BURN_FIXTURE, RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) return;
      const auto burn = reinterpret_cast<Burn>(dlsym(library, "vigil_fixture_burn"));
      const double begin = own_cpu_seconds();
      while (own_cpu_seconds() - begin < 0.15) burn(100'000);
      seconds += own_cpu_seconds() - begin;
      dlclose(library);
      burn_cpu_seconds(0.01);
    }
  });
  loader.join();
  // It is not there any more; what was sampled in it keeps its addresses.
  CHECK(dlopen(VIGIL_BURN_FIXTURE, RTLD_NOW | RTLD_NOLOAD) == nullptr);
  stop.request_stop();
  const StackProfile profile = capture.get();
  REQUIRE(loads == 8);
  REQUIRE(modules.refresh());
  const auto outside_modules = [&](const StackSample& sample) {
    return !sample.stack.frames.empty() &&
           modules.current()->find(sample.stack.frames.front().lookup()) == nullptr;
  };
  std::int64_t in_library = 0;
  std::int64_t whole = 0;
  for (const StackSample& sample : profile.samples) {
    if (!outside_modules(sample)) continue;
    in_library += sample.values[0];
    if (sample.stack.end == StackEnd::kComplete) whole += sample.values[0];
  }
  CHECK(static_cast<double>(in_library) == Approx(250 * seconds).epsilon(0.15));
  // From the second that knows the library on; the first of each load may not be followed.
  CHECK(whole > in_library / 10);
}

TEST_CASE_METHOD(Profiling,
                 "samples carry the labels of what ran, and the filters choose by them") {
  std::stop_source stop;
  const auto capture_with = [&](SampleOptions samples) {
    return std::async(std::launch::async, [this, samples, token = stop.get_token()] {
      auto profile =
          profiler.profile({.hz = 200, .deadline = clock.now() + 100s, .samples = samples}, token);
      return profile ? std::move(*profile) : StackProfile{};
    });
  };
  std::atomic<std::uint64_t> live{0};
  const auto is_live = [&](std::uint64_t task, MonotonicTime) { return task == live; };
  auto all = capture_with({});
  auto routed = capture_with({.routes = {"/less"}});
  auto slow = capture_with({.min_latency = 250ms, .is_live = is_live});
  await_samples();
  std::thread([&] {
    const auto run = [&](std::string_view name, std::uint64_t id, auto burn) {
      live = id;
      const OuterWork outer = enter_task({work_name(name), id, clock.now()});
      with_labels({{"tenant", name}}, burn);
      leave_task(outer);
      live = 0;
    };
    run("GET /more", 1, [&] {
      const auto until = clock.now() + 300ms;
      while (clock.now() < until) test_burn_more(0.01);
    });
    for (std::uint64_t id = 2; id < 12; ++id) run("GET /less", id, [] { test_burn_less(0.02); });
  }).join();
  stop.request_stop();
  const StackProfile profile = all.get();
  CHECK(samples_with(profile, "test_burn_less") == Approx(40).margin(6));
  for (const StackSample& sample : profile.samples) {
    const auto names = frame_names(sample.stack);
    const auto has = [&](std::string_view function) {
      return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        return name.find(function) != std::string::npos;
      });
    };
    for (const auto& [function, route] :
         {std::pair{"test_burn_more", "/more"}, std::pair{"test_burn_less", "/less"}}) {
      if (!has(function)) continue;
      const std::string name = std::string("GET ") + route;
      CHECK(sample.labels == std::vector<Label>{{"method", "GET", 0, ""},
                                                {"route", route, 0, ""},
                                                {"tenant", name, 0, ""}});
    }
  }
  const StackProfile by_route = routed.get();
  CHECK(samples_with(by_route, "test_burn_less") == Approx(40).margin(6));
  CHECK(samples_with(by_route, "test_burn_more") == 0);
  CHECK(by_route.counters.at("samples_filtered") > 0);
  const StackProfile by_latency = slow.get();
  CHECK(samples_with(by_latency, "test_burn_more") > 0);
  CHECK(samples_with(by_latency, "test_burn_less") == 0);
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

// Whether the capture has met the calling thread: it has a timer.
bool is_armed() {
  const auto timers = read_proc_file("/proc/self/timers", 1 << 20);
  const std::string notify = "/tid." + std::to_string(current_thread_id()) + "\n";
  return timers && timers->find(notify) != std::string::npos;
}

// On a machine that is full the collector looks for threads when it gets a processor, so they wait
// for it; and they end behind their last tick by more. That each is found within its 30 ms, with all
// its samples, is cpu_accuracy_test.cc's, on a machine of its own.
TEST_CASE_METHOD(Profiling, "threads that live 30 ms are seen, and all their time is counted") {
  std::stop_source stop;
  auto capture = start(100, stop.get_token());
  await_samples();
  constexpr int kThreads = 40;
  const MonotonicTime deadline = clock.now() + 60s;
  for (int i = 0; i < kThreads; ++i) {
    std::thread([&] {
      test_burn_more(0.01);
      while (!is_armed() && clock.now() < deadline) std::this_thread::sleep_for(1ms);
      test_burn_more(0.03 - own_cpu_seconds());
    }).join();
  }
  stop.request_stop();
  const StackProfile profile = capture.get();
  CHECK(clock.now() < deadline);
  const std::int64_t seen = samples_with(profile, "test_burn_more");
  CHECK(seen >= kThreads);
  CHECK(seen + profile.counters.at("samples_without_stack") == Approx(kThreads * 3).margin(12));
}

TEST_CASE_METHOD(Profiling, "the time of threads that no sample was taken of is counted") {
  std::stop_source stop;
  auto capture = start(100, stop.get_token());
  await_samples();
  // Their signals wait for ever.
  constexpr int kThreads = 10;
  for (int i = 0; i < kThreads; ++i) {
    std::thread([] {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
      test_burn_less(0.1);
    }).join();
  }
  stop.request_stop();
  const StackProfile profile = capture.get();
  const std::int64_t seen = samples_with(profile, "test_burn_less");
  CHECK(seen + profile.counters.at("samples_without_stack") == Approx(kThreads * 10).margin(10));
}

TEST_CASE_METHOD(Profiling, "nothing is missed of threads that are still there") {
  std::stop_source stop;
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      while (!over) burn_cpu_seconds(0.002);
    });
  }
  auto capture = start(50, stop.get_token());
  await_samples();
  burn_cpu_seconds(0.3);
  stop.request_stop();
  const StackProfile profile = capture.get();
  over = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(profile.counters.at("samples_without_stack") == 0);
}

}  // namespace
}  // namespace vigil::sampler
