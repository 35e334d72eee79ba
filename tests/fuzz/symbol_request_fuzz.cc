// The body of a pprof symbol request.

#include "endpoints/process.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vigil::endpoints;
  using vigil::fuzz::fuzz_require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto addresses = parse_symbol_addresses(text);
  fuzz_require(addresses.size() <= size, "no address from nothing");
  const std::vector<std::string> arguments = {std::string(text.substr(0, size / 2)),
                                              std::string(text.substr(size / 2))};
  fuzz_require(redacted_arguments(arguments).size() == 2, "arguments stay as many");
  return 0;
}
