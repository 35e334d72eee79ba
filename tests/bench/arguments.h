// Numbers on a bench program's command line.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/text.h"

namespace vigil::bench {

// `text` as a number in [min, max]. Else one line on stderr, which names the argument, and exit
// status 2.
inline std::int64_t number_argument(const char* program, const char* name, const char* text,
                                    std::int64_t min, std::int64_t max) {
  const auto value = parse_integer(text, min, max);
  if (value) return *value;
  std::fprintf(stderr, "%s: %s: %s\n", program, name, value.error().message().c_str());
  std::exit(2);
}

// A port to listen on, or to connect to.
inline std::uint16_t port_argument(const char* program, const char* text) {
  return static_cast<std::uint16_t>(number_argument(program, "PORT", text, 1, 65535));
}

}  // namespace vigil::bench
