#include "sampler/stack_text.h"

#include "tests/support/catch.h"
#include "tests/support/pattern.h"

namespace vigil::sampler {

namespace stack_text_test {

__attribute__((noinline)) std::uintptr_t return_address() {
  return reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
}

__attribute__((always_inline)) inline std::uintptr_t inlined_part() {
  const std::uintptr_t address = return_address();
  asm volatile("" ::: "memory");
  return address;
}

__attribute__((noinline)) std::uintptr_t wait_forever() {
  const std::uintptr_t address = inlined_part();
  asm volatile("" ::: "memory");
  return address;
}

}  // namespace stack_text_test

TEST_CASE("stack text: two lines for each frame, in Go's shape") {
  const std::vector<TextFrame> frames = {
      {"demo::wait_forever", "/src/demo/routes.cc", 81, 0x31, 0x401031, false},
      {"libfoo.so+0x1234", "/usr/lib/libfoo.so", 0, 0x1234, 0x7f1234, false}};
  std::string out = "goroutine 7 [futex wait]:\n";
  append_stack_text(out, frames, StackEnd::kComplete);
  CHECK(out ==
        "goroutine 7 [futex wait]:\n"
        "demo::wait_forever(...)\n"
        "\t/src/demo/routes.cc:81 +0x31\n"
        "libfoo.so+0x1234(...)\n"
        "\t/usr/lib/libfoo.so:0 +0x1234\n");
}

TEST_CASE("stack text: a walk that ended early says why") {
  std::string out;
  append_stack_text(out, {}, StackEnd::kNoUnwindInfo);
  CHECK(out == "...additional frames elided (no unwind information)\n");
  CHECK(stack_end_reason(StackEnd::kComplete).empty());
  for (const StackEnd end : {StackEnd::kTruncated, StackEnd::kBadMemory, StackEnd::kNotWalked}) {
    CHECK_FALSE(stack_end_reason(end).empty());
  }
}

TEST_CASE("stack text: a real stack, with its inlined frame") {
  Modules modules;
  const auto table = modules.refresh();
  REQUIRE(table);
  auto symbolizer = Symbolizer::create({});
  REQUIRE(symbolizer);
  Stack stack;
  stack.frames = {FrameAddress::return_address(stack_text_test::wait_forever()),
                  FrameAddress::instruction(0x10000)};
  stack.end = StackEnd::kTruncated;
  const std::string text = stack_text(stack, **table, symbolizer->get());
  const std::string shape =
      "vigil::sampler::stack_text_test::inlined_part\\(\\.\\.\\.\\)\n"
      "\t[^ ]*/stack_text_test\\.cc:[1-9][0-9]* \\+0x[0-9a-f]+\n"
      "vigil::sampler::stack_text_test::wait_forever\\(\\.\\.\\.\\)\n"
      "\t[^ ]*/stack_text_test\\.cc:[1-9][0-9]* \\+0x[0-9a-f]+\n"
      "0x10000\\(\\.\\.\\.\\)\n"
      "\t\\?:0 \\+0x0\n"
      "\\.\\.\\.additional frames elided \\(the stack copy or the frame limit ended\\)\n";
  INFO(text);
  CHECK(test::matches_whole(text, shape));
}

TEST_CASE("stack text: without a symbolizer, modules and offsets") {
  Modules modules;
  const auto table = modules.refresh();
  REQUIRE(table);
  Stack stack;
  stack.frames = {FrameAddress::return_address(stack_text_test::wait_forever())};
  const auto frames = text_frames(stack, **table, nullptr);
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].function.starts_with("test-symbols+0x"));
  CHECK(frames[0].file.ends_with("/test-symbols"));
  CHECK(frames[0].line == 0);
}

}  // namespace vigil::sampler
