// Each client of a delta page has its own baseline.
#include "endpoints/delta_baselines.h"

#include "tests/support/catch.h"

namespace vigil::endpoints {
namespace {

MonotonicTime at(int seconds) { return MonotonicTime(std::chrono::seconds(seconds)); }

sampler::StackProfile heap(std::int64_t allocated, std::int64_t inuse) {
  sampler::StackProfile profile;
  profile.name = "heap";
  profile.sample_types = {{"alloc_space", "bytes"}, {"inuse_space", "bytes"}};
  sampler::StackSample sample;
  sample.stack.frames = {sampler::FrameAddress::return_address(0x5000)};
  sample.values = {allocated, inuse};
  profile.samples = {sample};
  return profile;
}

std::int64_t total(const sampler::StackProfile& profile, std::size_t column) {
  std::int64_t sum = 0;
  for (const sampler::StackSample& sample : profile.samples) sum += sample.values[column];
  return sum;
}

}  // namespace

TEST_CASE("delta baselines: nothing at first, then what came since, for each client alone") {
  DeltaBaselines baselines;
  const auto first = baselines.exchange("a", heap(100, 10), at(1));
  CHECK(total(first, 0) == 0);
  CHECK(total(first, 1) == 10);
  CHECK(first.duration == Duration::zero());

  CHECK(total(baselines.exchange("b", heap(150, 10), at(2)), 0) == 0);
  const auto second = baselines.exchange("a", heap(170, 20), at(4));
  CHECK(total(second, 0) == 70);
  CHECK(total(second, 1) == 20);
  CHECK(second.duration == std::chrono::seconds(3));
  CHECK(total(baselines.exchange("b", heap(170, 20), at(5)), 0) == 20);
  CHECK(total(baselines.exchange("a", heap(170, 20), at(5)), 0) == 0);
}

TEST_CASE("delta baselines: bounded, the one unused for longest goes") {
  DeltaBaselines baselines(2);
  baselines.exchange("a", heap(100, 0), at(1));
  baselines.exchange("b", heap(100, 0), at(2));
  baselines.exchange("a", heap(110, 0), at(3));
  baselines.exchange("c", heap(120, 0), at(4));
  CHECK(baselines.size() == 2);
  CHECK(total(baselines.exchange("a", heap(130, 0), at(5)), 0) == 20);
  CHECK(total(baselines.exchange("b", heap(130, 0), at(6)), 0) == 0);  // began anew
}

TEST_CASE("delta baselines: other columns than last time begin anew") {
  DeltaBaselines baselines;
  auto inuse_only = heap(0, 5);
  inuse_only.sample_types = {{"x", "bytes"}, {"inuse_space", "bytes"}};
  baselines.exchange("a", inuse_only, at(1));
  CHECK(total(baselines.exchange("a", heap(100, 5), at(2)), 0) == 0);
}

}  // namespace vigil::endpoints
