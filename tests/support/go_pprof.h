// The real `go tool pprof`, for integration tests.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/subprocess.h"

namespace vigil::test {

// A folder that is gone with the object.
struct TemporaryFolder {
  std::filesystem::path path;
  TemporaryFolder();
  ~TemporaryFolder();
};

// Runs `go tool pprof` with `arguments`; what it saves goes to a temporary folder.
Finished go_pprof(std::vector<std::string> arguments);

}  // namespace vigil::test
