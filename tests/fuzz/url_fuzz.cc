// Targets, paths and queries: what leaves these functions is in the form that they promise.

#include <string>

#include "server-core/url.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace vigil::http;
using vigil::fuzz::fuzz_require;

void check_path(std::string_view raw) {
  std::string path;
  if (!append_percent_decoded(path, raw)) {
    fuzz_require(path.empty(), "a refused text leaves nothing behind");
    return;
  }
  if (path.find('\0') != std::string::npos) return;  // no escape gives it, and no target has it
  std::string again;
  fuzz_require(append_percent_decoded(again, percent_encoded_path(path)) && again == path,
               "encoding and decoding give the same path");
  if (path.empty() || path.front() != '/') return;
  const std::string clean = cleaned_path(path);
  fuzz_require(clean.front() == '/', "a clean path begins at the root");
  fuzz_require(is_clean_path(clean), "a clean path is clean");
  fuzz_require(cleaned_path(clean) == clean, "cleaning twice changes nothing");
  fuzz_require(is_clean_path(path) == (clean == path), "both say the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_path(text);
  if (const auto target = split_target(text)) {
    fuzz_require(!target->raw_path.empty(), "a target has a path");
    fuzz_require(target->raw_path.front() == '/' || target->raw_path == "*", "of one of two forms");
    fuzz_require(is_valid_host(target->authority), "an authority is a valid host");
    check_path(target->raw_path);
  }
  const QueryParams params = QueryParams::parse(text, 8);
  fuzz_require(params.size() <= 8, "the pairs are limited");
  for (const auto& [name, value] : params) {
    fuzz_require(name.size() + value.size() <= size, "decoding never grows");
    fuzz_require(params.contains(name), "what is listed is found");
  }
  (void)is_valid_host(text);
  return 0;
}
