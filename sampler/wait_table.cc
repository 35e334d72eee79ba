#include "sampler/wait_table.h"

#include <cmath>
#include <utility>

namespace vigil::sampler {

void WaitTable::add(contention::WaitKind kind, Stack stack, double count, std::int64_t delay_ns) {
  Sums& sums = sums_[static_cast<std::size_t>(kind)];
  auto found = sums.find(stack);
  if (found == sums.end()) {
    if (stacks_ >= stacks_max_) {
      ++overflowed_;
      stack = Stack{{FrameAddress::made_up(0)}, StackEnd::kComplete};
    } else {
      ++stacks_;
    }
    found = sums.try_emplace(std::move(stack)).first;
  }
  found->second.count += count;
  found->second.delay_ns += delay_ns;
}

void WaitTable::append(contention::WaitKind kind, std::vector<StackSample>& samples) const {
  for (const auto& [stack, sum] : sums_[static_cast<std::size_t>(kind)]) {
    samples.push_back({stack, {std::llround(sum.count), sum.delay_ns}, {}});
  }
}

}  // namespace vigil::sampler
