#include "tests/sampler/capture/burners.h"

#include <time.h>

#include <algorithm>

#include "tests/sampler/capture/captured_threads.h"

namespace vigil::sampler {

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

[[gnu::noinline]] void test_burn_more(double seconds) {
  burn_cpu_seconds(seconds);
  asm volatile("");
}
[[gnu::noinline]] void test_burn_less(double seconds) {
  burn_cpu_seconds(seconds);
  asm volatile("" ::: "memory");
}

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

}  // namespace vigil::sampler
