// Remembers what walks came to, so that the next stack that reads the same needs no walk.
//
//   if (const auto* frames = memo.find(registers, copy)) return {*frames, StackEnd::kComplete};
//   memo.begin(registers, copy);
//   …  the walk, which tells saw_register() and saw_word() of each of its reads  …
//   memo.keep(stack);
//
// A walk is a function of what it reads: the registers it begins with, words of the stack, and code
// and unwind tables, which do not change while they are mapped. So walks that begin at one
// instruction form a tree: a node is a place that is read next, each of its edges a value that was
// found there, each leaf a stack. A thousand threads that wait at one place have one path in it, of
// some 40 reads, which is compared in 0.4 us where the walk takes 23 us (30
// frames, a machine at load 13).
//
//     rip ──► [rsp+0x58]? ──0x5581…(a return address)──► [rsp+0x90]? ──0x5581…──► … ──► frames
//                          └─0x5590…──► [rsp+0x70]? ──…
//
// Places are relative to rsp, and so are values that point into the stack itself (saved frame
// pointers): two threads' stacks lie at different addresses. What depends on anything else (memory
// of the program, a search for a lost frame pointer) must not be kept: spoil().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "sampler/address.h"
#include "sampler/registers.h"

namespace vigil::sampler {

// Not thread-safe (the Unwinder's mutex guards its own). Pure: no memory but the copies is read.
class WalkMemo {
 public:
  // `nodes_max` ≥ 1: 32 bytes each, and at most one stack of 16 bytes a frame for each. When full,
  // everything is dropped and filling starts again, as in PageCache.
  explicit WalkMemo(std::size_t nodes_max = kNodesMaxDefault) : nodes_max_(nodes_max) {}

  // The frames that a complete walk over these would find; null if no walk was like it. Valid until
  // the next call of begin() or clear(). Both rip and rsp must be known. Cost: some 10 ns a read.
  const std::vector<FrameAddress>* find(const RegisterSet& registers, const StackCopy& copy) const;

  // The reads of one walk, in their order; `begin` forgets those of a walk that was not kept.
  void begin(const RegisterSet& registers, const StackCopy& copy);
  void saw_register(Register reg, std::uint64_t value);
  void saw_word(std::uintptr_t address, std::uint64_t value);
  // This walk has used what is not told here.
  void spoil() { is_spoilt_ = true; }
  // The walk's end. Only complete ones are remembered: others may come further next time.
  void keep(const Stack& stack);

  // Whenever the modules change: another library may be mapped at the same address.
  void clear();

  std::size_t size() const { return nodes_.size(); }

  static constexpr std::size_t kNodesMaxDefault = 64 * 1024;
  // Reads of one walk; longer ones are not remembered.
  static constexpr std::size_t kReadsMax = 1024;
  // Values at one place. A place with more holds data (a register that the walk only passes
  // through), and comparing would take longer than walking.
  static constexpr std::size_t kEdgesMax = 64;

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = UINT32_MAX;

  // A register, or a word `offset` bytes from rsp.
  struct Place {
    std::optional<Register> reg;
    std::int32_t offset = 0;
    friend bool operator==(const Place&, const Place&) = default;
  };
  struct Value {
    std::uint64_t number = 0;
    bool is_relative = false;  // to rsp: it points into the stack
    friend bool operator==(const Value&, const Value&) = default;
  };
  struct Read {
    Place place;
    Value value;
    friend bool operator==(const Read&, const Read&) = default;
  };
  // Reached by `value` at its parent's place. Siblings form a list.
  struct Node {
    Value value;
    Place place;            // what is read next, if it has children
    Index child = kNone;    // the first
    Index sibling = kNone;  // the next
    Index result = kNone;   // a leaf: into results_
  };
  // What the first node is found by: which registers a capture knows decides how a walk goes.
  struct Start {
    std::uintptr_t pc = 0;
    std::uint32_t known = 0;
    friend bool operator==(const Start&, const Start&) = default;
  };
  struct StartHash {
    std::size_t operator()(const Start& start) const {
      return (start.pc ^ std::uint64_t{start.known} << 48) * 0x9E3779B97F4A7C15u >> 16;
    }
  };

  // One walk's stack: where it begins and ends.
  struct Frame {
    std::uintptr_t sp = 0;
    std::uintptr_t low = 0;
    std::uintptr_t high = 0;
    Value normal(std::uint64_t value) const {
      if (value < low || value >= high) return {value, false};
      return {value - sp, true};
    }
  };

  static Start start_of(const RegisterSet& registers);
  static Frame frame_of(const RegisterSet& registers, const StackCopy& copy);
  // What is at `place`; nothing if the copy ends before.
  static std::optional<Value> value_at(const Place& place, const RegisterSet& registers,
                                       const StackCopy& copy, const Frame& frame);
  Index child_with(const Node& node, const Value& value) const;
  void saw(const Read& read);
  // The node after `read`, made if it is new; kNone if there may be no such.
  Index follow(Index node, const Read& read);

  const std::size_t nodes_max_;
  std::unordered_map<Start, Index, StartHash> roots_;
  std::vector<Node> nodes_;
  std::vector<std::vector<FrameAddress>> results_;

  // The walk that is told.
  Start start_;
  Frame frame_;
  std::vector<Read> reads_;
  bool is_spoilt_ = true;
};

}  // namespace vigil::sampler
