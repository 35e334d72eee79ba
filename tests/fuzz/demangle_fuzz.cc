// Symbol names come from files on disk: any bytes.

#include <string>

#include "sampler/demangle.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vigil::sampler;
  using vigil::fuzz::fuzz_require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string stripped = strip_signature(text);
  fuzz_require(stripped.size() <= size, "stripping never adds");
  fuzz_require(stripped.empty() == text.empty(), "a name stays a name");
  fuzz_require(text.empty() || !readable_name(text).empty(), "every symbol has a readable name");
  return 0;
}
