// What heap sampling costs a malloc/free pair: one line of JSON. Compiled into three programs (CMakeLists.txt): glibc as it
// is, glibc with vigil::malloc_interpose, tcmalloc with vigil::tcmalloc_samples.
//
// Off and on take turns within one process, and the median of the rounds is shown: the machine is shared. CPU time, of
// the allocating thread and of the whole process (the collector's thread unwinds).
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "sampler/heap_profiler.h"

namespace {

using vigil::sampler::HeapProfiler;

constexpr int kRounds = 41;
constexpr int kPairs = 400'000;
constexpr std::size_t kSizes[] = {16, 64, 48, 200, 1024, 32, 96, 512};

double cpu_nanoseconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Sixteen objects are alive at a time, so that neither allocator has its very last object at hand always.
double nanoseconds_a_pair(clockid_t clock) {
  void* alive[16] = {};
  const double begin = cpu_nanoseconds(clock);
  for (int i = 0; i < kPairs; ++i) {
    void*& place = alive[i % 16];
    std::free(place);
    place = std::malloc(kSizes[i % 8]);
    asm volatile("" : : "r"(place) : "memory");
  }
  const double end = cpu_nanoseconds(clock);
  for (void* object : alive) std::free(object);
  return (end - begin) / kPairs;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

}  // namespace

int main() {
  vigil::sampler::Modules modules;
  vigil::sampler::Unwinder unwinder(modules);
  auto heap = HeapProfiler::create(modules, unwinder);
  std::vector<double> off;
  std::vector<double> on;
  std::vector<double> on_all;
  for (int round = 0; round < kRounds; ++round) {
    off.push_back(nanoseconds_a_pair(CLOCK_THREAD_CPUTIME_ID));
    if (!heap) continue;
    if (!(*heap)->enable({})) return 1;
    // Past the point where this thread notices the switch (16 MiB with tcmalloc).
    for (int i = 0; i < 17 * 1024; ++i) std::free(std::malloc(1024));
    on.push_back(nanoseconds_a_pair(CLOCK_THREAD_CPUTIME_ID));
    on_all.push_back(nanoseconds_a_pair(CLOCK_PROCESS_CPUTIME_ID));
    (*heap)->disable();
    for (int i = 0; i < 2 * 1024; ++i) std::free(std::malloc(1024));
  }
  if (on.empty()) on = on_all = off;
  std::printf("{\"off_ns\": %.2f, \"on_ns\": %.2f, \"on_with_collector_ns\": %.2f}\n", median(off),
              median(on), median(on_all));
}
