// The live sampler: this program runs on tcmalloc.
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <vector>

#include "sampler/heap_profiler.h"
#include "sampler/profile.h"
#include "tests/sampler/heap_columns.h"
#include "tests/support/catch.h"

namespace vigil::sampler {

namespace heap_test {

constexpr std::size_t kObjectBytes = 1024;

__attribute__((noinline)) void remember(std::vector<void*>& kept, std::size_t bytes) {
  for (std::size_t n = 0; n < bytes; n += kObjectBytes) kept.push_back(std::malloc(kObjectBytes));
}

__attribute__((noinline)) void churn(std::size_t bytes) {
  for (std::size_t n = 0; n < bytes; n += kObjectBytes) {
    void* p = std::malloc(kObjectBytes);
    asm volatile("" : : "r"(p) : "memory");
    std::free(p);
  }
}

// Needs its landing pad, and the resumption behind it, to work.
__attribute__((noinline)) void throw_through_a_cleanup(int& cleaned) {
  struct Guard {
    int& count;
    ~Guard() { ++count; }
  } guard{cleaned};
  throw std::runtime_error("on purpose");
}

}  // namespace heap_test

namespace {

constexpr std::int64_t kMiB = 1 << 20;

std::int64_t bytes_of(HeapProfiler& heap, Symbolizer& symbolizer, const std::string& function) {
  return test::heap_columns_of(heap, symbolizer, function).inuse_space;
}

}  // namespace

TEST_CASE("heap: what is kept is found by name, what is freed is not, and exceptions work") {
  Modules modules;
  Unwinder unwinder(modules);
  auto heap = HeapProfiler::create(modules, unwinder);
  REQUIRE(heap);
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  CHECK_FALSE((*heap)->enable({.interval_bytes = 1023}));
  CHECK_FALSE((*heap)->enable({.interval_bytes = kMiB * 1024 + 1}));
  CHECK((*heap)->snapshot(WallTime{}).error().code() == ErrorCode::kUnsupported);

  // 32 KiB: 2,048 expected samples of 64 MiB, so 15 % are more than six standard deviations.
  REQUIRE((*heap)->enable({.interval_bytes = 32 * 1024}));
  heap_test::churn(17 * kMiB);  // past the point where this thread notices the switch
  std::vector<void*> kept;
  kept.reserve(64 * kMiB / heap_test::kObjectBytes);
  heap_test::remember(kept, 64 * kMiB);
  heap_test::churn(512 * kMiB);

  const double remembered =
      static_cast<double>(bytes_of(**heap, **symbolizer, "vigil::sampler::heap_test::remember"));
  CHECK(remembered > 0.85 * 64 * kMiB);
  CHECK(remembered < 1.15 * 64 * kMiB);
  CHECK(bytes_of(**heap, **symbolizer, "vigil::sampler::heap_test::churn") < kMiB);

  // A second profiler finds the switch taken, reads, and leaves it alone.
  auto second = HeapProfiler::create(modules, unwinder);
  REQUIRE(second);
  CHECK((*second)->enable({}).error().code() == ErrorCode::kBusy);
  CHECK((*second)->snapshot(WallTime{}));
  second->reset();
  CHECK((*heap)->snapshot(WallTime{}));

  // Exceptions while the sampler is on, on several threads: libunwind is inside the program,
  // hidden.
  std::vector<int> cleaned(4, 0);
  std::vector<std::thread> threads;
  for (int& count : cleaned) {
    threads.emplace_back([&count] {
      for (int i = 0; i < 1000; ++i) {
        try {
          heap_test::throw_through_a_cleanup(count);
        } catch (const std::runtime_error&) {
          heap_test::churn(100 * heap_test::kObjectBytes);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : cleaned) CHECK(count == 1000);

  // Where the memory came from: at least what is kept.
  const auto growth = (*heap)->growth(WallTime{});
  REQUIRE(growth);
  std::int64_t grown = 0;
  for (const StackSample& sample : growth->samples) grown += sample.values.at(1);
  CHECK(grown >= 64 * kMiB);
  CHECK(grown < 128 * kMiB);

  for (void* p : kept) std::free(p);
  CHECK(bytes_of(**heap, **symbolizer, "vigil::sampler::heap_test::remember") == 0);
  (*heap)->disable();
  CHECK((*heap)->snapshot(WallTime{}).error().code() == ErrorCode::kUnsupported);
}

}  // namespace vigil::sampler
