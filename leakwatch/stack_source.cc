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

// A file of source code, or where none is known the module that the code is in.
bool is_of_library(std::string_view file) {
  // Debian builds the C library in its source folder, so its files are relative.
  constexpr std::array<std::string_view, 4> kFolders = {"./", "../", "/usr/include/", "?"};
  constexpr std::array<std::string_view, 2> kLibraries = {"/usr/lib/", "/lib/"};
  if (begins_with_any(file, kFolders)) return true;
  // Programs are there too: /usr/lib/postgresql/15/bin/postgres.
  return begins_with_any(file, kLibraries) && (file.find(".so") != std::string_view::npos ||
                                               file.find("/include/") != std::string_view::npos);
}

bool is_own(const sampler::TextFrame& frame) {
  constexpr std::array<std::string_view, 3> kNames = {"std::", "vigil::", "__"};
  return !frame.function.empty() && !frame.file.empty() && !is_of_library(frame.file) &&
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
