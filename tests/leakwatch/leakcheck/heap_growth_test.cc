// What is done again and again must not keep more memory each time.

#include "leakwatch/leakcheck/heap_growth.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/fake_clock.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

using Blocks = std::vector<std::unique_ptr<char[]>>;

}  // namespace

// With linkage, so that its name is in every report.
__attribute__((noinline)) void vigil_test_keeps(Blocks& blocks, std::size_t bytes) {
  blocks.push_back(std::make_unique<char[]>(bytes));
  asm volatile("" : : "r"(blocks.back().get()) : "memory");
}

namespace {

TEST_CASE("memory that each run keeps is reported by its call site, and freed memory is not") {
  FakeClock clock;
  Blocks kept;
  const auto grown = heap_growth([&kept] { vigil_test_keeps(kept, 64 * 1024); }, clock);
  REQUIRE(grown);
  const std::string text = format_heap_growth(*grown);
  INFO(text);
  REQUIRE(grown->size() == 1);
  CHECK(grown->front().frames.front().function == "vigil::leakwatch::vigil_test_keeps");
  // 20 runs; a block of 16 intervals is sampled with certainty.
  CHECK(grown->front().bytes == 20 * 64 * 1024);
  CHECK(grown->front().objects == 20);
  CHECK(text.find("heap grew by 1310720 bytes in 20 objects at:\nvigil::leakwatch::vigil_test_") ==
        0);

  const auto flat = heap_growth(
      [] {
        Blocks freed;
        vigil_test_keeps(freed, 64 * 1024);
      },
      clock);
  REQUIRE(flat);
  CHECK(format_heap_growth(*flat).empty());
}

TEST_CASE("what only the first runs keep is a cache, no growth") {
  FakeClock clock;
  Blocks kept;
  const auto flat = heap_growth(
      [&kept] {
        if (kept.size() < 3) vigil_test_keeps(kept, 1 << 20);
      },
      clock, {.warm_up_runs = 3});
  if (flat) CHECK(format_heap_growth(*flat).empty());
  const bool answered = flat || flat.error().code() == ErrorCode::kUnsupported;
  CHECK(answered);
}

}  // namespace
}  // namespace vigil::leakwatch
