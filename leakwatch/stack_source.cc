#include "leakwatch/stack_source.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::leakwatch {
namespace {

bool begins_with_any(std::string_view text, std::span<const std::string_view> beginnings) {
  return std::any_of(beginnings.begin(), beginnings.end(),
                     [text](std::string_view beginning) { return text.starts_with(beginning); });
}

bool is_own(const sampler::TextFrame& frame) {
  // Debian builds the C library in its source folder, so its files are relative.
  constexpr std::array<std::string_view, 6> kFolders = {"./",        "../",   "/usr/include/",
                                                        "/usr/lib/", "/lib/", "?"};
  constexpr std::array<std::string_view, 3> kNames = {"std::", "vigil::", "__"};
  return !frame.function.empty() && !frame.file.empty() && !begins_with_any(frame.file, kFolders) &&
         !begins_with_any(frame.function, kNames);
}

std::string_view last_part(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // all of it if there is no slash
}

}  // namespace

std::string format_stack(const LiveStack& stack) {
  std::string text;
  if (!stack.failure.empty()) text += "[" + stack.failure + "]\n";
  if (!stack.frames.empty()) sampler::append_stack_text(text, stack.frames, stack.end);
  return text;
}

std::string place_of(const LiveStack& stack) {
  std::string place;
  std::size_t named = 0;
  for (const sampler::TextFrame& frame : stack.frames) {
    if (!is_own(frame)) {
      if (named > 0) break;  // what called the program's code is nobody's question
      continue;
    }
    if (named > 0) place += " < ";
    place += valid_utf8(frame.function);
    if (frame.line > 0) {
      fmt::format_to(std::back_inserter(place), " ({}:{})", valid_utf8(last_part(frame.file)),
                     frame.line);
    }
    if (++named == kPlaceFramesMax) break;
  }
  return place;
}

}  // namespace vigil::leakwatch
