// Adds up waits by stack, within a bound. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "sampler/address.h"
#include "sampler/contention/wait_tables.h"
#include "sampler/stack_counter.h"
#include "sampler/stack_profile.h"

namespace vigil::sampler {

// Not thread-safe. Sums never shrink, so that clients can take differences.
class WaitTable {
 public:
  // At most `stacks_max` stacks; waits at others are added up at one made-up frame for each kind.
  explicit WaitTable(std::size_t stacks_max) : stacks_max_(stacks_max) {}

  void add(contention::WaitKind kind, Stack stack, double count, std::int64_t delay_ns);

  // Appends the waits of `kind`; the made-up frame is FrameAddress::made_up(0), kTableFullFrame.
  void append(contention::WaitKind kind, std::vector<StackSample>& samples) const;

  std::size_t stacks() const { return stacks_; }
  std::uint64_t overflowed() const { return overflowed_; }

  static constexpr const char* kTableFullFrame = "[table full]";

 private:
  struct Sum {
    double count = 0;
    std::int64_t delay_ns = 0;
  };
  using Sums = std::unordered_map<Stack, Sum, StackHash>;

  std::size_t stacks_max_;
  std::size_t stacks_ = 0;
  std::uint64_t overflowed_ = 0;
  std::array<Sums, contention::kWaitKinds> sums_;
};

}  // namespace vigil::sampler
