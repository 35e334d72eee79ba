// What a span costs while nobody records: not measurable. Not built under a sanitizer, whose own
// cost it would be.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "sampler/trace_span.h"
#include "tests/support/catch.h"

namespace vigil {
namespace {

constexpr int kTurns = 100'000;

std::int64_t own_cpu_ns() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec;
}

// The compiler must not see through it.
inline void use(int& value) { asm volatile("" : "+r"(value) : : "memory"); }

void bare() {
  for (int i = 0; i < kTurns; ++i) use(i);
}

void spanned() {
  for (int i = 0; i < kTurns; ++i) {
    const TraceSpan span("turn");
    use(i);
  }
}

// The least of many: whatever else runs on the machine only adds.
double best_ns_a_turn(void (*loop)()) {
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  for (int round = 0; round < 50; ++round) {
    const std::int64_t before = own_cpu_ns();
    loop();
    best = std::min(best, own_cpu_ns() - before);
  }
  return static_cast<double>(best) / kTurns;
}

TEST_CASE(
    "a span costs less than two nanoseconds while nobody records, and more while somebody does") {
  const double off = best_ns_a_turn(bare);
  const double hooked = best_ns_a_turn(spanned);
  INFO(off << " ns bare, " << hooked << " ns with a span");
  CHECK(hooked - off < 2.0);
  const auto recording = sampler::trace::Recording::start();
  REQUIRE(recording);
  const double on = best_ns_a_turn(spanned);
  INFO(on << " ns recorded");
  CHECK(on - off > 20.0);  // the same loop does find a cost where there is one
}

}  // namespace
}  // namespace vigil
