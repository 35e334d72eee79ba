#include "sampler/frame_rules.h"

#include <limits>
#include <vector>

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using Kind = FrameRule::Kind;
using Place = WatchedStep::Place;
using Read = WatchedStep::Read;

constexpr std::uintptr_t kStack = 0x7000;
constexpr std::uintptr_t kCaller = 0x400123;
constexpr std::size_t kWords = 16;

constexpr std::uintptr_t word(std::size_t number) {
  return kStack + number * sizeof(std::uint64_t);
}
constexpr Place in_memory(std::size_t number) { return {Place::Kind::kMemory, word(number)}; }
constexpr Place in_register(Register reg) {
  return {Place::Kind::kRegister, static_cast<std::uint64_t>(reg)};
}

// A step of a frame with rsp at word 0 whose return address is word 5: its CFA is word 6.
struct Watched {
  Watched() {
    step.sp_before = word(0);
    step.sp_after = word(6);
    step.pc_after = kCaller;
    for (std::size_t i = 0; i < kCalleeSaved.size(); ++i) {
      step.places_before[i] = in_register(kCalleeSaved[i]);
    }
    step.places_after = step.places_before;
    reads.push_back({in_memory(5), kCaller});
  }
  FrameRule rule() {
    step.reads = reads;
    return rule_of(step);
  }
  WatchedStep step;
  std::vector<Read> reads;
};

RegisterSet registers_at(std::uintptr_t sp) {
  RegisterSet registers;
  registers.set(Register::kRip, 0x400000);
  registers.set(Register::kRsp, sp);
  return registers;
}

struct Image {
  Image() {
    for (std::size_t i = 0; i < kWords; ++i) words.push_back(1000 + i);
  }
  StackCopy copy() const { return {kStack, std::as_bytes(std::span(words)), 0}; }
  std::vector<std::uint64_t> words;
};

TEST_CASE("frame rules: what a step read shows what the frame's address is computed from") {
  Watched from_sp;
  CHECK(from_sp.rule() == FrameRule{Kind::kFromSp, 48, {}});

  Watched from_rbp;
  from_rbp.reads.push_back({in_register(Register::kRbp), word(4)});
  from_rbp.step.places_after[kRbpIndex] = in_memory(4);
  CHECK(from_rbp.rule() == FrameRule{Kind::kFromRbp, 16, {0, 2}});

  Watched saves;
  saves.step.places_after[0] = in_memory(3);
  saves.step.places_after[5] = in_memory(1);
  CHECK(saves.rule() == FrameRule{Kind::kFromSp, 48, {3, 0, 0, 0, 0, 5}});

  Watched last;
  last.reads.clear();
  last.step.has_caller = false;
  CHECK(last.rule().kind == Kind::kNoCaller);
}

TEST_CASE("frame rules: a step of another form is left to libunwind") {
  Watched watched;
  REQUIRE(watched.rule().kind == Kind::kFromSp);
  SECTION("it has read another word") { watched.reads.push_back({in_memory(2), 1}); }
  SECTION("it has read another register") {
    watched.reads.push_back({in_register(Register::kR10), 1});
  }
  SECTION("it has not read its return address") { watched.reads.clear(); }
  SECTION("it has found another return address there") { ++watched.step.pc_after; }
  SECTION("its caller's rsp is not above") { watched.step.sp_before = watched.step.sp_after; }
  SECTION("its caller's rsp, from rbp, is below") {
    watched.step.sp_before = word(8);
    watched.reads.push_back({in_register(Register::kRbp), word(4)});
  }
  SECTION("a register was before where this frame saves") {
    watched.step.places_before[3] = watched.step.places_after[3] = in_memory(2);
  }
  SECTION("it has the caller's register in another one") {
    watched.step.places_after[2] = in_register(Register::kRbx);
  }
  SECTION("it has lost a register") { watched.step.places_after[3] = {}; }
  SECTION("it has saved one above its frame") { watched.step.places_after[3] = in_memory(6); }
  SECTION("it has saved one between two words") {
    ++(watched.step.places_after[3] = in_memory(3)).at;
  }
  SECTION("it has saved one too far away") {
    watched.step.places_after[3] = {Place::Kind::kMemory, watched.step.sp_after - 32768 * 8};
  }
  SECTION("reads of rbp would not be seen") { watched.step.would_see_rbp = false; }
  SECTION("rbp is where the return address is") {
    watched.step.places_before[kRbpIndex] = in_memory(5);
  }
  SECTION("it is the last, and found that on the stack") { watched.step.has_caller = false; }
  CHECK(watched.rule().kind == Kind::kNotSimple);
}

TEST_CASE("frame rules: a rule leads to the caller's registers") {
  const Image image;
  RegisterSet registers = registers_at(word(2));
  registers.set(Register::kRbx, 7);
  registers.set(Register::kRax, 8);
  REQUIRE(follow({Kind::kFromSp, 40, {0, 2, 3}}, image.copy(), registers));
  CHECK(registers.pc() == 1006);
  CHECK(registers.sp() == word(7));
  CHECK(registers.get(Register::kRbx) == 7);
  CHECK(registers.get(Register::kRbp) == 1005);
  CHECK(registers.get(Register::kR12) == 1004);
  CHECK_FALSE(registers.knows(Register::kR13));  // was unknown, and still is
  CHECK_FALSE(registers.knows(Register::kRax));  // nobody's any more
}

TEST_CASE("frame rules: a frame pointer leads to the caller's registers") {
  const Image image;
  RegisterSet registers = registers_at(word(2));
  const FrameRule rule{Kind::kFromRbp, 16, {0, 2}};
  CHECK_FALSE(follow(rule, image.copy(), registers));  // not known
  registers.set(Register::kRbp, word(9));
  REQUIRE(follow(rule, image.copy(), registers));
  CHECK(registers.pc() == 1010);
  CHECK(registers.sp() == word(11));
  CHECK(registers.get(Register::kRbp) == 1009);
}

TEST_CASE("frame rules: what is not in the copy, or leads down, is not followed") {
  const Image image;
  const auto stays = [&](const FrameRule& rule, std::uintptr_t sp, std::uintptr_t rbp) {
    RegisterSet registers = registers_at(sp);
    registers.set(Register::kRbp, rbp);
    const bool moved = follow(rule, image.copy(), registers);
    if (!moved) CHECK(registers.sp() == sp);
    return !moved;
  };
  // The return address: the copy's last word, and behind it.
  CHECK_FALSE(stays({Kind::kFromSp, 16, {}}, word(kWords - 2), 0));
  CHECK(stays({Kind::kFromSp, 16, {}}, word(kWords - 1), 0));
  CHECK(stays({Kind::kFromSp, 16, {}}, std::numeric_limits<std::uintptr_t>::max() - 7, 0));
  // A saved register: the copy's first word, and before it.
  CHECK_FALSE(stays({Kind::kFromSp, 16, {2}}, word(0), 0));
  CHECK(stays({Kind::kFromSp, 16, {3}}, word(0), 0));
  // rbp two words above rsp, one, and at it less two.
  CHECK_FALSE(stays({Kind::kFromRbp, 16, {}}, word(5), word(7)));
  CHECK_FALSE(stays({Kind::kFromRbp, 16, {}}, word(5), word(4)));
  CHECK(stays({Kind::kFromRbp, 16, {}}, word(5), word(3)));
  CHECK(stays({Kind::kNotSimple, 16, {}}, word(0), 0));
  CHECK(stays({Kind::kNoCaller, 16, {}}, word(0), 0));
}

TEST_CASE("frame rules: kept by instruction, until there are too many") {
  constexpr std::size_t kMost = 1000;
  FrameRules rules(kMost);
  const auto pc = [](std::size_t i) { return FrameAddress::instruction(0x400000 + i); };
  CHECK(rules.find(pc(0)) == nullptr);
  for (std::size_t i = 0; i < kMost; ++i) {
    rules.keep(pc(i), {Kind::kFromSp, static_cast<std::int32_t>(8 * i), {}});
  }
  REQUIRE(rules.size() == kMost);
  for (std::size_t i = 0; i < kMost; ++i) {
    const FrameRule* rule = rules.find(pc(i));
    REQUIRE(rule != nullptr);
    REQUIRE(rule->cfa_offset == static_cast<std::int32_t>(8 * i));
  }
  // An instruction and the return address behind the one before are two.
  CHECK(rules.find(FrameAddress::return_address(0x400000)) == nullptr);
  CHECK(rules.find(pc(kMost)) == nullptr);
  rules.keep(pc(kMost), {Kind::kFromSp, 8, {}});
  CHECK(rules.size() == 1);
  CHECK(rules.find(pc(0)) == nullptr);
  REQUIRE(rules.find(pc(kMost)) != nullptr);
  rules.keep(pc(kMost), {Kind::kNoCaller, 0, {}});
  CHECK(rules.size() == 1);
  CHECK(rules.find(pc(kMost))->kind == Kind::kNoCaller);
  rules.clear();
  CHECK(rules.find(pc(kMost)) == nullptr);
}

}  // namespace
}  // namespace vigil::sampler
