#include "sampler/stack_counter.h"

#include <utility>

namespace vigil::sampler {

std::size_t StackHash::operator()(const Stack& stack) const {
  // FNV-1a, a word at a time, with a final shift: addresses differ in their low and middle bits.
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const FrameAddress& frame : stack.frames) {
    hash = (hash ^ frame.raw()) * 0x100000001b3u;
    hash ^= hash >> 29;
  }
  return static_cast<std::size_t>(hash);
}

std::vector<StackCounter::Count> StackCounter::take() {
  std::vector<Count> all;
  all.reserve(counts_.size());
  while (!counts_.empty()) {
    auto node = counts_.extract(counts_.begin());
    all.push_back({std::move(node.key()), node.mapped()});
  }
  return all;
}

}  // namespace vigil::sampler
