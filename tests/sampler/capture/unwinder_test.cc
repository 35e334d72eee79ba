#include "sampler/unwinder.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "sampler/own_capture.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

constexpr std::size_t kCopyBytes = 256 * 1024;

// The position of the frame in `function`, by the dynamic symbol that covers its look-up address;
// -1 if there is none.
int frame_in(const Stack& stack, void* function) {
  for (std::size_t i = 0; i < stack.frames.size(); ++i) {
    Dl_info info{};
    if (dladdr(reinterpret_cast<void*>(stack.frames[i].lookup()), &info) != 0 &&
        info.dli_saddr == function) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

}  // namespace

// Not in the anonymous namespace: dladdr knows exported functions only.
[[gnu::noinline]] OwnCapture capture_at_depth(int depth) {
  if (depth == 0) return capture_own_stack(kCopyBytes);
  OwnCapture capture = capture_at_depth(depth - 1);
  capture.bytes.reserve(1);  // no tail call
  return capture;
}

namespace {

struct Fixture {
  Fixture() { REQUIRE(modules.refresh()); }
  Modules modules;
  Unwinder unwinder{modules};
};

TEST_CASE_METHOD(Fixture, "this thread's stack is complete, innermost first") {
  const OwnCapture own = capture_at_depth(10);
  const Stack stack = unwinder.unwind(own.registers, own.stack, kFramesMax);
  CHECK(stack.end == StackEnd::kComplete);
  // Frame 0 is capture_own_stack; a static library's names are hidden.
  CHECK(frame_in(stack, reinterpret_cast<void*>(&capture_at_depth)) == 1);
  CHECK(std::count_if(stack.frames.begin(), stack.frames.end(), [](const FrameAddress& frame) {
          Dl_info info{};
          return dladdr(reinterpret_cast<void*>(frame.lookup()), &info) != 0 &&
                 info.dli_saddr == reinterpret_cast<void*>(&capture_at_depth);
        }) == 11);
  CHECK(frame_in(stack, dlsym(RTLD_DEFAULT, "__libc_start_main")) > 11);
  CHECK(stack.frames.front() == FrameAddress::instruction(own.registers.pc()));
  CHECK(stack.frames[1].lookup() == stack.frames[1].raw() - 1);
}

TEST_CASE_METHOD(Fixture, "frames are bounded: one before, at and after the limit") {
  const OwnCapture own = capture_at_depth(10);
  const std::size_t all = unwinder.unwind(own.registers, own.stack, kFramesMax).frames.size();
  for (const std::size_t limit : {std::size_t{1}, all - 1}) {
    const Stack cut = unwinder.unwind(own.registers, own.stack, limit);
    CHECK(cut.frames.size() == limit);
    CHECK(cut.end == StackEnd::kTruncated);
  }
  CHECK(unwinder.unwind(own.registers, own.stack, all + 1).end == StackEnd::kComplete);
}

TEST_CASE_METHOD(Fixture, "a copy that ends early truncates the stack") {
  const OwnCapture own = capture_at_depth(10);
  const Stack whole = unwinder.unwind(own.registers, own.stack, kFramesMax);
  StackCopy part = own.stack;
  part.bytes = part.bytes.first(512);
  for (const std::uintptr_t end : {std::uintptr_t{0}, own.stack.end()}) {
    part.stack_end = end;
    const Stack stack = unwinder.unwind(own.registers, part, kFramesMax);
    CHECK(stack.end == StackEnd::kTruncated);
    CHECK(stack.frames.size() < whole.frames.size());
    CHECK(std::equal(stack.frames.begin(), stack.frames.end(), whole.frames.begin()));
  }
  part.bytes = {};
  CHECK(unwinder.unwind(own.registers, part, kFramesMax).frames.size() == 1);
}

TEST_CASE_METHOD(Fixture, "without rip or rsp there is nothing to walk") {
  RegisterSet registers;
  CHECK(unwinder.unwind(registers, {}, kFramesMax).end == StackEnd::kNotWalked);
  registers.set(Register::kRip, 0x400000);
  CHECK(unwinder.unwind(registers, {}, kFramesMax).end == StackEnd::kNotWalked);
}

TEST_CASE_METHOD(Fixture, "P6.8: wild registers end the walk, never the process") {
  const OwnCapture own = capture_at_depth(3);
  const std::uintptr_t wild[] = {0,
                                 1,
                                 8,
                                 0x1000,
                                 own.stack.base + 3,
                                 own.stack.end() - 4,
                                 own.stack.end(),
                                 0x7fffffffffff,
                                 0x8000000000000000,
                                 0xffffffff81000000,
                                 UINTPTR_MAX - 7,
                                 UINTPTR_MAX};
  std::size_t walks = 0;
  for (const std::uintptr_t pc :
       {own.registers.pc(), std::uintptr_t{0}, std::uintptr_t{0xdeadbeef}, UINTPTR_MAX}) {
    for (const std::uintptr_t sp : wild) {
      for (const std::uintptr_t bp : wild) {
        RegisterSet registers = own.registers;
        registers.set(Register::kRip, pc);
        registers.set(Register::kRsp, sp);
        registers.set(Register::kRbp, bp);
        for (const StackCopy& copy : {own.stack, StackCopy{sp, {}, 0}}) {
          const Stack stack = unwinder.unwind(registers, copy, kFramesMax);
          REQUIRE_FALSE(stack.frames.empty());
          REQUIRE(stack.frames.size() <= kFramesMax);
          REQUIRE(stack.end != StackEnd::kNotWalked);
          ++walks;
        }
      }
    }
  }
  CHECK(walks == 4u * 12 * 12 * 2);
}

TEST_CASE_METHOD(Fixture, "P6.8: an unreadable stack is truncated") {
  const OwnCapture own = capture_at_depth(3);
  RegisterSet registers = own.registers;
  registers.set(Register::kRsp, 0xdead0000);
  registers.set(Register::kRbp, 0xdead0000);
  const Stack stack = unwinder.unwind(registers, {0xdead0000, {}, 0}, kFramesMax);
  CHECK(stack.frames.size() == 1);
  CHECK(stack.end == StackEnd::kTruncated);
}

TEST_CASE_METHOD(Fixture, "P6.8: random stack images and code addresses do no harm") {
  std::minstd_rand random(7);
  const Module main = modules.current()->modules().front();
  const OwnCapture own = capture_at_depth(3);
  std::vector<std::uint64_t> words(512);
  std::size_t frames = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::uintptr_t base = 0x7ffd00000000;
    for (std::uint64_t& word : words) {
      switch (random() % 4) {
        case 0:
          word = main.start + random() % (main.end - main.start);
          break;
        case 1:
          word = base + random() % (words.size() * 8) / 8 * 8;
          break;
        case 2:
          word = random();
          break;
        default:
          word = 0;
          break;
      }
    }
    RegisterSet registers;
    for (std::size_t reg = 0; reg < kRegisterCount; ++reg) {
      if (random() % 4 != 0) registers.set(static_cast<Register>(reg), words[reg]);
    }
    registers.set(Register::kRip, main.start + random() % (main.end - main.start));
    registers.set(Register::kRsp, base + random() % 1024 / 8 * 8);
    const Stack stack = unwinder.unwind(registers, {base, std::as_bytes(std::span(words)), 0}, 64);
    REQUIRE(stack.frames.size() <= 64);
    frames += stack.frames.size();
  }
  CHECK(frames > 3000);  // some walks got further than their first frame
}

TEST_CASE_METHOD(Fixture, "code without unwind information is followed by rbp, when it is known") {
  // A made-up address outside all code as pc, a real frame chain above it.
  const OwnCapture own = capture_at_depth(2);
  const Stack whole = unwinder.unwind(own.registers, own.stack, kFramesMax);
  REQUIRE(whole.frames.size() > 3);
  const std::uint64_t chain[] = {0, whole.frames[1].raw()};
  const std::uintptr_t base = 0x7ffd00000000;
  RegisterSet registers;
  registers.set(Register::kRip, 0x123456);
  registers.set(Register::kRsp, base);
  const StackCopy copy{base, std::as_bytes(std::span(chain)), 0};
  Stack stack = unwinder.unwind(registers, copy, kFramesMax);
  CHECK(stack.frames.size() == 1);
  CHECK(stack.end == StackEnd::kNoUnwindInfo);
  registers.set(Register::kRbp, base);
  stack = unwinder.unwind(registers, copy, kFramesMax);
  REQUIRE(stack.frames.size() >= 2);
  CHECK(stack.frames[1] == whole.frames[1]);
}

// A stack as it would be at another address: what points into it moves with it.
struct Moved {
  std::vector<std::uint64_t> words;
  RegisterSet registers;
  StackCopy copy;
};

Moved moved_by(const OwnCapture& own, std::uintptr_t distance) {
  const auto move = [&](std::uint64_t value) {
    return value >= own.stack.base && value < own.stack.end() ? value + distance : value;
  };
  Moved moved;
  moved.words.resize(own.stack.bytes.size() / sizeof(std::uint64_t));
  std::memcpy(moved.words.data(), own.stack.bytes.data(), moved.words.size() * 8);
  for (std::uint64_t& word : moved.words) word = move(word);
  for (std::size_t i = 0; i < kRegisterCount; ++i) {
    const auto reg = static_cast<Register>(i);
    if (own.registers.knows(reg)) moved.registers.set(reg, move(own.registers.get(reg)));
  }
  moved.copy = {own.stack.base + distance, std::as_bytes(std::span(moved.words)), 0};
  return moved;
}

TEST_CASE_METHOD(Fixture, "a stack that was walked at another address needs no libunwind") {
  const OwnCapture own = capture_at_depth(10);
  const Stack here = unwinder.unwind(own.registers, own.stack, kFramesMax);
  REQUIRE(here.end == StackEnd::kComplete);
  const std::uint64_t looked_at = unwinder.stats().steps_by_libunwind;
  const Moved there = moved_by(own, 0x100000);
  CHECK(unwinder.unwind(there.registers, there.copy, kFramesMax) == here);
  CHECK(unwinder.stats().steps_by_libunwind == looked_at);
  CHECK(unwinder.stats().walks == 2);

  SECTION("nor does another stack of the same functions") {
    const OwnCapture deeper = capture_at_depth(14);
    const Stack other = unwinder.unwind(deeper.registers, deeper.stack, kFramesMax);
    CHECK(other.end == StackEnd::kComplete);
    CHECK(other.frames.size() == here.frames.size() + 4);
    // The one call that is new is that of the test, above.
    CHECK(unwinder.stats().steps_by_libunwind == looked_at + 1);
  }
  SECTION("and a copy that ends before the walk does is cut") {
    StackCopy part = there.copy;
    part.bytes = part.bytes.first(512);
    CHECK(unwinder.unwind(there.registers, part, kFramesMax).end == StackEnd::kTruncated);
    CHECK(unwinder.stats().steps_by_libunwind == looked_at + 1);
  }
  SECTION("and so is a walk that may have few frames") {
    CHECK(unwinder.unwind(there.registers, there.copy, 3).frames.size() == 3);
  }
}

TEST_CASE_METHOD(Fixture, "whatever a stack's words are, rules from other walks change no answer") {
  std::minstd_rand random(11);
  const OwnCapture shapes[] = {capture_at_depth(1), capture_at_depth(3), capture_at_depth(8)};
  std::size_t complete = 0;
  std::size_t cut = 0;
  for (int round = 0; round < 1500 || (cut <= 50 && round < 20'000); ++round) {
    const OwnCapture& own = shapes[random() % 3];
    Moved moved = moved_by(own, random() % 16 * 0x1000);
    // The words that walks read are few: return addresses, and pointers into the stack.
    std::vector<std::size_t> read;
    for (std::size_t i = 0; i < moved.words.size(); ++i) {
      const std::uint64_t word = moved.words[i];
      const bool points = word >= moved.copy.base && word < moved.copy.end();
      if (points || modules.current()->is_code(word)) read.push_back(i);
    }
    for (std::size_t changes = random() % 5; changes != 0; --changes) {
      moved.words[read[random() % read.size()]] = moved.words[read[random() % read.size()]];
    }
    Unwinder fresh(modules);
    const Stack expected = fresh.unwind(moved.registers, moved.copy, kFramesMax);
    const Stack found = unwinder.unwind(moved.registers, moved.copy, kFramesMax);
    REQUIRE(found == expected);
    (expected.end == StackEnd::kComplete ? complete : cut) += 1;
  }
  CHECK(complete > 300);
  CHECK(cut > 25);
  CHECK(unwinder.stats().steps_by_rule > 10 * unwinder.stats().steps_by_libunwind);
}

}  // namespace
}  // namespace vigil::sampler
