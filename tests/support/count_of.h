// How often a text has another in it.
#pragma once

#include <cstddef>
#include <string>

namespace vigil::test {

// How often `text` is in `where`.
inline std::size_t count_of(const std::string& where, const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = where.find(text); at != std::string::npos; at = where.find(text, at + 1)) {
    ++count;
  }
  return count;
}

}  // namespace vigil::test
