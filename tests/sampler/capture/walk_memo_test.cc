#include "sampler/walk_memo.h"

#include <array>
#include <vector>

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

constexpr std::uintptr_t kCode = 0x400000;

// A stack of eight words at `base`, rsp at its first.
struct Image {
  explicit Image(std::uintptr_t address) : base(address) {}

  std::uintptr_t base;
  std::array<std::uint64_t, 8> words{};

  RegisterSet registers() const {
    RegisterSet set;
    set.set(Register::kRip, kCode);
    set.set(Register::kRsp, base);
    return set;
  }
  StackCopy copy() const { return {base, std::as_bytes(std::span(words)), 0}; }
  std::uintptr_t at(std::size_t word) const { return base + word * sizeof(std::uint64_t); }
};

Stack stack_of(std::initializer_list<std::uintptr_t> returns) {
  Stack stack;
  stack.end = StackEnd::kComplete;
  stack.frames.push_back(FrameAddress::instruction(kCode));
  for (const std::uintptr_t pc : returns) {
    stack.frames.push_back(FrameAddress::return_address(pc));
  }
  return stack;
}

// Tells `memo` of a walk that reads those words of `image`, in that order, and finds `stack`.
void remember(WalkMemo& memo, const Image& image, std::initializer_list<std::size_t> reads,
              const Stack& stack) {
  memo.begin(image.registers(), image.copy());
  for (const std::size_t word : reads) memo.saw_word(image.at(word), image.words[word]);
  memo.keep(stack);
}

TEST_CASE("walk memo: only the words that were read must be the same") {
  WalkMemo memo;
  Image first(0x7000);
  first.words = {1, kCode + 5, 2, kCode + 9};
  remember(memo, first, {1, 3}, stack_of({kCode + 5, kCode + 9}));
  Image other(0x9000);
  other.words = {7, kCode + 5, 8, kCode + 9};
  const auto* found = memo.find(other.registers(), other.copy());
  REQUIRE(found != nullptr);
  CHECK(*found == stack_of({kCode + 5, kCode + 9}).frames);
  for (const std::size_t word : {std::size_t{1}, std::size_t{3}}) {
    Image changed = other;
    ++changed.words[word];
    CHECK(memo.find(changed.registers(), changed.copy()) == nullptr);
  }
}

TEST_CASE("walk memo: a pointer into the stack counts by where it points in it") {
  WalkMemo memo;
  Image first(0x7000);
  first.words = {first.at(4), kCode + 5};
  remember(memo, first, {0, 1}, stack_of({kCode + 5}));
  Image other(0x9000);
  other.words = {other.at(4), kCode + 5};
  CHECK(memo.find(other.registers(), other.copy()) != nullptr);
  other.words[0] = other.at(5);
  CHECK(memo.find(other.registers(), other.copy()) == nullptr);
  other.words[0] = first.at(4);  // into another stack
  CHECK(memo.find(other.registers(), other.copy()) == nullptr);
}

TEST_CASE("walk memo: walks that part have a stack each") {
  WalkMemo memo;
  Image a(0x7000);
  a.words = {kCode + 5, kCode + 9};
  Image b(0x8000);
  b.words = {kCode + 5, kCode + 13, kCode + 17};
  remember(memo, a, {0, 1}, stack_of({kCode + 5, kCode + 9}));
  remember(memo, b, {0, 1, 2}, stack_of({kCode + 5, kCode + 13, kCode + 17}));
  REQUIRE(memo.find(a.registers(), a.copy()) != nullptr);
  REQUIRE(memo.find(b.registers(), b.copy()) != nullptr);
  CHECK(memo.find(a.registers(), a.copy())->size() == 3);
  CHECK(memo.find(b.registers(), b.copy())->size() == 4);
}

TEST_CASE("walk memo: registers count where the walk has read them, and which are known always") {
  WalkMemo memo;
  Image image(0x7000);
  RegisterSet registers = image.registers();
  registers.set(Register::kRbx, 5);
  registers.set(Register::kRbp, image.at(2));
  memo.begin(registers, image.copy());
  memo.saw_register(Register::kRsp, image.base);
  memo.saw_register(Register::kRbp, image.at(2));
  memo.keep(stack_of({}));
  registers.set(Register::kRbx, 6);
  CHECK(memo.find(registers, image.copy()) != nullptr);
  registers.set(Register::kRbp, image.at(3));
  CHECK(memo.find(registers, image.copy()) == nullptr);
  registers.set(Register::kRbp, image.at(2));
  registers.set(Register::kRax, 0);
  CHECK(memo.find(registers, image.copy()) == nullptr);
}

TEST_CASE("walk memo: what is spoilt, or did not reach the end, is not kept") {
  WalkMemo memo;
  Image image(0x7000);
  memo.begin(image.registers(), image.copy());
  memo.saw_word(image.at(0), 0);
  memo.spoil();
  memo.keep(stack_of({}));
  CHECK(memo.size() == 0);
  Stack cut = stack_of({});
  cut.end = StackEnd::kTruncated;
  remember(memo, image, {0}, cut);
  CHECK(memo.size() == 0);
  remember(memo, image, {0}, stack_of({}));
  CHECK(memo.find(image.registers(), image.copy()) != nullptr);
  memo.clear();
  CHECK(memo.find(image.registers(), image.copy()) == nullptr);
}

TEST_CASE("walk memo: a copy that ends before a read has no answer") {
  WalkMemo memo;
  Image image(0x7000);
  image.words[7] = kCode + 5;
  remember(memo, image, {7}, stack_of({kCode + 5}));
  StackCopy part = image.copy();
  CHECK(memo.find(image.registers(), part) != nullptr);
  part.bytes = part.bytes.first(63);
  CHECK(memo.find(image.registers(), part) == nullptr);
}

TEST_CASE("walk memo: a place with too many values, too long a walk, too many nodes") {
  SECTION("values at one place: one before, at and after the limit") {
    WalkMemo memo;
    Image image(0x7000);
    for (std::uint64_t value = 0; value <= WalkMemo::kEdgesMax; ++value) {
      image.words[0] = value;
      remember(memo, image, {0}, stack_of({}));
      CHECK((memo.find(image.registers(), image.copy()) != nullptr) ==
            (value < WalkMemo::kEdgesMax));
    }
  }
  SECTION("reads of one walk") {
    WalkMemo memo;
    std::vector<std::uint64_t> words(WalkMemo::kReadsMax + 1);
    RegisterSet registers;
    registers.set(Register::kRip, kCode);
    registers.set(Register::kRsp, 0x7000);
    const StackCopy copy{0x7000, std::as_bytes(std::span(words)), 0};
    for (const std::size_t reads : {WalkMemo::kReadsMax + 1, WalkMemo::kReadsMax}) {
      memo.begin(registers, copy);
      for (std::size_t i = 0; i < reads; ++i) memo.saw_word(0x7000 + 8 * i, 0);
      memo.keep(stack_of({}));
      CHECK((memo.find(registers, copy) != nullptr) == (reads == WalkMemo::kReadsMax));
    }
  }
  SECTION("nodes: filling starts again") {
    WalkMemo memo(4);
    Image image(0x7000);
    for (std::uint64_t value = 0; value < 100; ++value) {
      image.words[0] = value;
      remember(memo, image, {0}, stack_of({}));
      CHECK(memo.size() <= 4);
      CHECK(memo.find(image.registers(), image.copy()) != nullptr);
    }
  }
}

}  // namespace
}  // namespace vigil::sampler
