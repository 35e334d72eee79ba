// Flags' values and escaping: what is read and written again is the same, what is escaped is safe.

#include <string>

#include "base/text.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vigil;
  using vigil::fuzz::fuzz_require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  if (const auto duration = parse_duration(text)) {
    fuzz_require(duration->count() >= 0, "a duration is not negative");
    fuzz_require(static_cast<bool>(parse_duration(format_duration(*duration))),
                 "its text is a duration");
  }
  if (const auto endpoint = parse_host_port(text)) {
    const auto again = parse_host_port(format_host_port(*endpoint));
    fuzz_require(again && again->host == endpoint->host && again->port == endpoint->port,
                 "its text is the same endpoint");
  }
  if (const auto number = parse_integer(text, -5, 1'000'000)) {
    fuzz_require(*number >= -5 && *number <= 1'000'000, "the range holds");
  }
  const std::string valid = valid_utf8(text);
  fuzz_require(valid_utf8(valid) == valid, "valid text stays as it is");
  std::string json;
  append_json_escaped(json, text);
  fuzz_require(valid_utf8(json) == json, "JSON is valid text");
  for (std::size_t i = 0; i < json.size(); ++i) {
    fuzz_require(static_cast<unsigned char>(json[i]) >= 0x20, "no control in JSON");
    if (json[i] == '\\') {
      ++i;  // the escape's own character
    } else {
      fuzz_require(json[i] != '"', "no bare quote in JSON");
    }
  }
  fuzz_require(html_escaped(text).find_first_of("<>\"'") == std::string::npos, "no markup left");
  return 0;
}
