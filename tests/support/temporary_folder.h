// TemporaryFolder: a folder of a test's own, mode 0700, removed with all that is in it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace vigil::test {

class TemporaryFolder {
 public:
  // Throws std::runtime_error if there is no place for one.
  TemporaryFolder() {
    std::string made =
        (std::filesystem::canonical(std::filesystem::temp_directory_path()) / "vigil-XXXXXX")
            .string();
    if (mkdtemp(made.data()) == nullptr) throw std::runtime_error("cannot make " + made);
    path_ = made;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace vigil::test
