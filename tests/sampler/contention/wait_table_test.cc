#include "sampler/wait_table.h"

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using contention::WaitKind;

Stack stack_at(std::uintptr_t address) {
  return {{FrameAddress::return_address(address)}, StackEnd::kComplete};
}

std::vector<StackSample> samples_of(const WaitTable& table, WaitKind kind) {
  std::vector<StackSample> samples;
  table.append(kind, samples);
  return samples;
}

TEST_CASE("waits at one stack are added up, kinds kept apart") {
  WaitTable table(16);
  table.add(WaitKind::kMutex, stack_at(0x5000), 1, 100);
  table.add(WaitKind::kMutex, stack_at(0x5000), 2.5, 200);
  table.add(WaitKind::kJoin, stack_at(0x5000), 1, 7);
  const auto mutex = samples_of(table, WaitKind::kMutex);
  REQUIRE(mutex.size() == 1);
  CHECK(mutex[0].stack == stack_at(0x5000));
  CHECK(mutex[0].values == std::vector<std::int64_t>{4, 300});  // 3.5 waits, rounded
  REQUIRE(samples_of(table, WaitKind::kJoin).size() == 1);
  CHECK(samples_of(table, WaitKind::kHolder).empty());
  CHECK(table.stacks() == 2);
}

TEST_CASE("fractions of a wait are not lost on the way") {
  WaitTable table(16);
  for (int i = 0; i < 1'000; ++i) table.add(WaitKind::kMutex, stack_at(0x5000), 1.3, 1);
  CHECK(samples_of(table, WaitKind::kMutex)[0].values[0] == 1'300);
}

TEST_CASE("a full table adds further stacks up under one name and counts them") {
  WaitTable table(2);
  table.add(WaitKind::kMutex, stack_at(0x5000), 1, 1);
  table.add(WaitKind::kMutex, stack_at(0x6000), 1, 1);
  CHECK(table.overflowed() == 0);
  table.add(WaitKind::kMutex, stack_at(0x7000), 1, 10);
  table.add(WaitKind::kMutex, stack_at(0x8000), 1, 20);
  table.add(WaitKind::kMutex, stack_at(0x5000), 1, 1);  // known: still itself
  CHECK(table.stacks() == 2);
  CHECK(table.overflowed() == 2);
  const Stack full{{FrameAddress::made_up(0)}, StackEnd::kComplete};
  std::int64_t overflow = 0;
  std::int64_t total = 0;
  for (const StackSample& sample : samples_of(table, WaitKind::kMutex)) {
    total += sample.values[1];
    if (sample.stack == full) overflow = sample.values[1];
  }
  CHECK(overflow == 30);
  CHECK(total == 33);
}

}  // namespace
}  // namespace vigil::sampler
