#include "sampler/stack_counter.h"

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

Stack stack_of(std::initializer_list<std::uintptr_t> pcs, StackEnd end = StackEnd::kComplete) {
  Stack stack;
  for (const std::uintptr_t pc : pcs) stack.frames.push_back(FrameAddress::return_address(pc));
  stack.end = end;
  return stack;
}

TEST_CASE("equal stacks add up, others stay apart") {
  StackCounter counter;
  counter.add(stack_of({1, 2, 3}), 1);
  counter.add(stack_of({1, 2, 3}), 4);
  counter.add(stack_of({3, 2, 1}), 1);
  counter.add(stack_of({1, 2}), 1);
  counter.add(stack_of({1, 2, 3}, StackEnd::kTruncated), 1);
  counter.add(stack_of({}), 2);
  CHECK(counter.size() == 5);
  std::int64_t total = 0;
  for (const StackCounter::Count& count : counter.take()) {
    total += count.weight;
    if (count.stack == stack_of({1, 2, 3})) CHECK(count.weight == 5);
  }
  CHECK(total == 10);
  CHECK(counter.size() == 0);
}

TEST_CASE("an interrupted instruction and a return address at the same place are two stacks") {
  StackCounter counter;
  Stack interrupted;
  interrupted.frames.push_back(FrameAddress::instruction(5));
  interrupted.end = StackEnd::kComplete;
  counter.add(interrupted, 1);
  counter.add(stack_of({5}), 1);
  CHECK(counter.size() == 2);
}

}  // namespace
}  // namespace vigil::sampler
