// Adds up equal stacks. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sampler/address.h"

namespace vigil::sampler {

// For maps whose keys are stacks.
struct StackHash {
  std::size_t operator()(const Stack& stack) const;
};

// Equal means the same frames and the same end, compared in full: two stacks whose hashes happen to
// agree stay two. Not thread-safe.
class StackCounter {
 public:
  void add(Stack stack, std::int64_t weight) { counts_[std::move(stack)] += weight; }

  struct Count {
    Stack stack;
    std::int64_t weight = 0;
  };
  // All stacks, in no particular order; the counter is empty afterwards.
  std::vector<Count> take();

  std::size_t size() const { return counts_.size(); }

 private:
  std::unordered_map<Stack, std::int64_t, StackHash> counts_;
};

}  // namespace vigil::sampler
