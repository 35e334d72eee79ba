// Whole-text matching of POSIX extended regular expressions. Not std::regex: g++ 12 warns about its
// innards under the sanitizers (-Wmaybe-uninitialized,
// https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105562), and our warnings are errors.
#pragma once

#include <regex.h>

#include <string>

#include "tests/support/catch.h"

namespace vigil::test {

inline bool matches_whole(const std::string& text, const std::string& pattern) {
  regex_t compiled;
  REQUIRE(::regcomp(&compiled, ("^(" + pattern + ")$").c_str(), REG_EXTENDED | REG_NOSUB) == 0);
  const bool found = ::regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
  ::regfree(&compiled);
  return found;
}

}  // namespace vigil::test
