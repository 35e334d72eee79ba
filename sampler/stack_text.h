// One symbolized stack as text in Go's shape, for task dumps, the watchdog's log and the shutdown
// report.
//
//   demo::wait_forever(...)
//   	/src/demo/routes.cc:81 +0x31
//   std::condition_variable::wait<…>(...)        an inlined frame: a pair of lines of its own, as
//   Go prints it 	/usr/include/c++/12/condition_variable:102 +0x8f
//
// Tools that read Go's dumps take these lines: a name with a parameter list, then a tab,
// "file:line" and an offset.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sampler/address.h"
#include "sampler/module_table.h"
#include "sampler/symbolizer.h"

namespace vigil::sampler {

// One source frame, ready to print.
struct TextFrame {
  std::string function;  // "libfoo.so+0x1234" where no function is known
  std::string file;  // the module's path where no source file is known; "?" outside every module
  std::int32_t line = 0;
  std::uint64_t offset =
      0;  // from the function's entry; of the file's address in the module where none is known
  std::uintptr_t address = 0;  // FrameAddress::lookup()
  bool inlined = false;
};

// The stack's source frames, innermost first. `symbolizer` null: module and offset only. Not pure
// (reads files).
std::vector<TextFrame> text_frames(const Stack& stack, const ModuleTable& modules,
                                   Symbolizer* symbolizer);

// Appends two lines for each frame, then for a walk that did not reach the thread's first frame one
// more that says why
// ("...additional frames elided (the stack copy ended)"), in Go's words where Go has them. Pure.
void append_stack_text(std::string& out, std::span<const TextFrame> frames, StackEnd end);

// Both in one.
std::string stack_text(const Stack& stack, const ModuleTable& modules, Symbolizer* symbolizer);

// A sentence's end for people: "the stack copy ended", "no unwind information", …; empty for
// kComplete. Constant text.
std::string_view stack_end_reason(StackEnd end);

}  // namespace vigil::sampler
