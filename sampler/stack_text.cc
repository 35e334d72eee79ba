#include "sampler/stack_text.h"

#include <utility>

#include "base/text.h"

namespace vigil::sampler {
namespace {

// The frame of an address that no function is known for.
TextFrame unknown_frame(std::uintptr_t address, const Module* module) {
  TextFrame frame;
  frame.function = module_offset_name(address, module);
  frame.file = module != nullptr ? module->path : "?";
  frame.offset = module != nullptr ? address - module->load_bias : 0;
  frame.address = address;
  return frame;
}

void append_frames(FrameAddress address, const ModuleTable& modules, Symbolizer* symbolizer,
                   std::vector<TextFrame>& out) {
  const Module* module = modules.find(address.lookup());
  const SymbolizedAddress known =
      symbolizer != nullptr ? symbolizer->symbolize(address, modules) : SymbolizedAddress();
  if (!known.known()) {
    out.push_back(unknown_frame(address.lookup(), module));
    return;
  }
  // As Go prints it: where the callee will return to, so the offset of the raw address.
  const std::uint64_t offset = known.offset() + (address.raw() - address.lookup());
  for (const SourceFrame& source : known.frames()) {
    TextFrame frame;
    frame.function = source.function->name;
    frame.file = source.function->file;
    if (frame.file.empty() && module != nullptr) frame.file = module->path;
    frame.line = source.line;
    frame.offset = offset;
    frame.address = address.lookup();
    frame.inlined = source.inlined;
    out.push_back(std::move(frame));
  }
}

}  // namespace

std::string_view stack_end_reason(StackEnd end) {
  switch (end) {
    case StackEnd::kComplete:
      return "";
    case StackEnd::kTruncated:
      return "the stack copy or the frame limit ended";
    case StackEnd::kNoUnwindInfo:
      return "no unwind information";
    case StackEnd::kBadMemory:
      return "unreadable stack memory";
    case StackEnd::kNotWalked:
      return "not captured";
  }
  return "unknown reason";
}

std::vector<TextFrame> text_frames(const Stack& stack, const ModuleTable& modules,
                                   Symbolizer* symbolizer) {
  std::vector<TextFrame> frames;
  frames.reserve(stack.frames.size());
  for (const FrameAddress& address : stack.frames) {
    append_frames(address, modules, symbolizer, frames);
  }
  return frames;
}

void append_stack_text(std::string& out, std::span<const TextFrame> frames, StackEnd end) {
  for (const TextFrame& frame : frames) {
    out += valid_utf8(frame.function);
    out += "(...)\n\t";
    out += valid_utf8(frame.file);
    out += ':';
    out += std::to_string(frame.line);
    out += " +";
    out += hex_address(frame.offset);
    out += '\n';
  }
  if (end != StackEnd::kComplete) {
    out += "...additional frames elided (";
    out += stack_end_reason(end);
    out += ")\n";
  }
}

std::string stack_text(const Stack& stack, const ModuleTable& modules, Symbolizer* symbolizer) {
  std::string out;
  append_stack_text(out, text_frames(stack, modules, symbolizer), stack.end);
  return out;
}

}  // namespace vigil::sampler
