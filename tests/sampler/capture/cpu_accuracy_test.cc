// How true a CPU profile is: the matrix of threads and rates that the profile promises, with the
// CPU clocks of the threads themselves for the truth. Alone on the machine, some minutes.
#include <algorithm>
#include <future>

#include "sampler/cpu_profiler.h"
#include "tests/sampler/capture/burners.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

struct Accuracy : Sampling {
  CpuProfiler profiler{clock, modules, unwinder, *channel};

  // Profiles while `work` runs, and from before its threads begin.
  template <typename Work>
  StackProfile profile_during(int hz, Work&& work) {
    std::stop_source stop;
    auto capture = std::async(std::launch::async, [&] {
      auto profile =
          profiler.profile({.hz = hz, .deadline = clock.now() + 1000s}, stop.get_token());
      return profile ? std::move(*profile) : StackProfile{};
    });
    const auto before = channel->counters().samples;
    while (channel->counters().samples == before) burn_cpu_seconds(0.002);
    work();
    stop.request_stop();
    return capture.get();
  }
};

// What threads used in test_burn_more and test_burn_less, by their own clocks.
struct Burned {
  std::atomic<double> more{0};
  std::atomic<double> less{0};
  double total() const { return more + less; }
};

void add(std::atomic<double>& sum, double seconds) {
  double before = sum;
  while (!sum.compare_exchange_weak(before, before + seconds)) {
  }
}

// `seconds` of CPU, three quarters in one function, in turns of at most 400 ms.
void burn_split(double seconds, Burned& burned) {
  const double turn = std::min(0.4, seconds);
  for (double left = seconds; left > turn / 2; left -= turn) {
    const double begin = own_cpu_seconds();
    test_burn_more(turn * 0.75);
    const double middle = own_cpu_seconds();
    test_burn_less(turn * 0.25);
    add(burned.more, middle - begin);
    add(burned.less, own_cpu_seconds() - middle);
  }
}

void check(const StackProfile& profile, const Burned& burned, int hz) {
  const auto more = static_cast<double>(samples_with(profile, "test_burn_more"));
  const auto less = static_cast<double>(samples_with(profile, "test_burn_less"));
  const double rate = (more + less) / burned.total();
  const double share = 100 * more / (more + less);
  const double true_share = 100 * burned.more / burned.total();
  WARN("share " << share << " of " << true_share << ", samples per CPU-second " << rate << " of "
                << hz << ", lost " << profile.counters.at("samples_lost") << ", without stack "
                << profile.counters.at("samples_without_stack"));
  CHECK(share == Approx(true_share).margin(3));
  CHECK(rate == Approx(hz).epsilon(0.03));
  CHECK(profile.counters.at("samples_lost") == 0);
}

TEST_CASE_METHOD(Accuracy,
                 "P6.5: a split of 75 to 25 is found with 1 to 32 threads at 100 and 250 Hz") {
  constexpr double kCpuSeconds = 10;
  for (const int threads : {1, 2, 8, 32}) {
    for (const int hz : {100, 250}) {
      INFO(threads << " threads at " << hz << " Hz");
      Burned burned;
      const StackProfile profile = profile_during(hz, [&] {
        std::vector<std::thread> burners;
        for (int i = 0; i < threads; ++i) {
          burners.emplace_back([&] { burn_split(kCpuSeconds / threads, burned); });
        }
        for (std::thread& burner : burners) burner.join();
      });
      WARN(threads << " threads at " << hz << " Hz");
      check(profile, burned, hz);
    }
  }
}

TEST_CASE_METHOD(Accuracy, "P6.5: threads that live 30 ms are found with all their time") {
  for (const int hz : {100, 250}) {
    Burned burned;
    const StackProfile profile = profile_during(hz, [&] {
      // Two at a time, 400 in all.
      const auto churn = [&] {
        for (int i = 0; i < 200; ++i) {
          std::thread([&] { burn_split(0.03, burned); }).join();
        }
      };
      std::thread other(churn);
      churn();
      other.join();
    });
    WARN("30 ms threads at " << hz << " Hz");
    check(profile, burned, hz);
  }
}

}  // namespace
}  // namespace vigil::sampler
