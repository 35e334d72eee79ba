// Runs a fuzz target over files, and over the files of folders: the corpus as a test, without a
// fuzzer.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "tests/fuzz/fuzz.h"

namespace {

void replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  // Told before, so that a crash names its input.
  std::fprintf(stderr, "%s, %zu bytes\n", path.c_str(), bytes.size());
  // Copied to its exact size: the sanitizer then sees one byte too far.
  const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), exact.get());
  LLVMFuzzerTestOneInput(exact.get(), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      replay(argv[i]);
      ++files;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      replay(entry.path());
      ++files;
    }
  }
  if (files > 0) return EXIT_SUCCESS;
  std::fprintf(stderr, "usage: %s FILE-OR-FOLDER…\n", argv[0]);
  return 2;  // an empty corpus would be a test that cannot fail
}
