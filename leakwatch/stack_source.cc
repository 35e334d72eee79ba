#include "leakwatch/stack_source.h"

namespace vigil::leakwatch {

std::string format_stack(const LiveStack& stack) {
  std::string text;
  if (!stack.failure.empty()) text += "[" + stack.failure + "]\n";
  if (!stack.frames.empty()) sampler::append_stack_text(text, stack.frames, stack.end);
  return text;
}

}  // namespace vigil::leakwatch
