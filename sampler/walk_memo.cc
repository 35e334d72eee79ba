#include "sampler/walk_memo.h"

#include <algorithm>
#include <cstring>

namespace vigil::sampler {
namespace {

// libunwind reads a frame's words more than once; looking this far back finds most of them.
constexpr std::size_t kRepeatsWithin = 8;

}  // namespace

WalkMemo::Start WalkMemo::start_of(const RegisterSet& registers) {
  Start start{registers.pc(), 0};
  for (std::size_t i = 0; i < kRegisterCount; ++i) {
    if (registers.knows(static_cast<Register>(i))) start.known |= 1u << i;
  }
  return start;
}

WalkMemo::Frame WalkMemo::frame_of(const RegisterSet& registers, const StackCopy& copy) {
  return {registers.sp(), copy.base, copy.stack_end != 0 ? copy.stack_end : copy.end()};
}

std::optional<WalkMemo::Value> WalkMemo::value_at(const Place& place, const RegisterSet& registers,
                                                  const StackCopy& copy, const Frame& frame) {
  if (place.reg) return frame.normal(registers.get(*place.reg));
  const std::uintptr_t address = frame.sp + static_cast<std::uintptr_t>(place.offset);
  std::uint64_t word = 0;
  if (address < copy.base || copy.bytes.size() < sizeof word ||
      address - copy.base > copy.bytes.size() - sizeof word) {
    return std::nullopt;
  }
  std::memcpy(&word, copy.bytes.data() + (address - copy.base), sizeof word);
  return frame.normal(word);
}

WalkMemo::Index WalkMemo::child_with(const Node& node, const Value& value) const {
  Index child = node.child;
  while (child != kNone && nodes_[child].value != value) child = nodes_[child].sibling;
  return child;
}

const std::vector<FrameAddress>* WalkMemo::find(const RegisterSet& registers,
                                                const StackCopy& copy) const {
  const auto root = roots_.find(start_of(registers));
  if (root == roots_.end()) return nullptr;
  const Frame frame = frame_of(registers, copy);
  Index at = root->second;
  while (at != kNone && nodes_[at].result == kNone) {
    const auto value = value_at(nodes_[at].place, registers, copy, frame);
    if (!value) return nullptr;
    at = child_with(nodes_[at], *value);
  }
  return at == kNone ? nullptr : &results_[nodes_[at].result];
}

void WalkMemo::begin(const RegisterSet& registers, const StackCopy& copy) {
  start_ = start_of(registers);
  frame_ = frame_of(registers, copy);
  reads_.clear();
  is_spoilt_ = false;
}

void WalkMemo::saw(const Read& read) {
  if (is_spoilt_) return;
  const auto near = reads_.size() > kRepeatsWithin ? reads_.end() - kRepeatsWithin : reads_.begin();
  if (std::find(near, reads_.end(), read) != reads_.end()) return;
  if (reads_.size() == kReadsMax) return spoil();
  reads_.push_back(read);
}

void WalkMemo::saw_register(Register reg, std::uint64_t value) {
  // The two that every walk begins with: one is what places are relative to, the other the root.
  if (reg == Register::kRsp || reg == Register::kRip) return;
  saw({{reg, 0}, frame_.normal(value)});
}

void WalkMemo::saw_word(std::uintptr_t address, std::uint64_t value) {
  const auto offset = static_cast<std::int64_t>(address - frame_.sp);
  if (offset != static_cast<std::int32_t>(offset)) return spoil();
  saw({{std::nullopt, static_cast<std::int32_t>(offset)}, frame_.normal(value)});
}

WalkMemo::Index WalkMemo::follow(Index at, const Read& read) {
  if (nodes_[at].result != kNone) return kNone;
  if (nodes_[at].child == kNone) {
    nodes_[at].place = read.place;
  } else if (nodes_[at].place != read.place) {
    return kNone;  // the walk is no function of its reads after all
  }
  std::size_t edges = 0;
  for (Index child = nodes_[at].child; child != kNone; child = nodes_[child].sibling) {
    if (nodes_[child].value == read.value) return child;
    ++edges;
  }
  if (edges >= kEdgesMax) return kNone;
  const auto made = static_cast<Index>(nodes_.size());
  nodes_.push_back({.value = read.value, .sibling = nodes_[at].child});
  nodes_[at].child = made;
  return made;
}

void WalkMemo::keep(const Stack& stack) {
  if (is_spoilt_ || stack.end != StackEnd::kComplete) return;
  is_spoilt_ = true;  // told once
  if (nodes_.size() + reads_.size() + 1 > nodes_max_) {
    if (reads_.size() + 1 > nodes_max_) return;
    clear();
  }
  const auto [root, is_new] = roots_.try_emplace(start_, static_cast<Index>(nodes_.size()));
  if (is_new) nodes_.push_back({});
  Index at = root->second;
  for (const Read& read : reads_) {
    at = follow(at, read);
    if (at == kNone) return;
  }
  if (nodes_[at].result != kNone || nodes_[at].child != kNone) return;
  nodes_[at].result = static_cast<Index>(results_.size());
  results_.push_back(stack.frames);
}

void WalkMemo::clear() {
  roots_.clear();
  nodes_.clear();
  results_.clear();
}

}  // namespace vigil::sampler
