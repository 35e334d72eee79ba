// TemporaryFolder: a folder of a test's own, mode 0700, removed with all that is in it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace vigil::test {

struct TemporaryFolder {
  // Throws std::runtime_error if there is no place for one.
  TemporaryFolder() {
    std::string made =
        std::filesystem::canonical(std::filesystem::temp_directory_path()) / "vigil-XXXXXX";
    if (mkdtemp(made.data()) == nullptr) throw std::runtime_error("cannot make " + made);
    path = made;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  // The path of a file in it.
  std::string operator/(const std::string& name) const { return path / name; }

  std::filesystem::path path;
};

}  // namespace vigil::test
