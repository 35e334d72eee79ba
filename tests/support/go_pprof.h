// The real `go tool pprof`, for integration tests.
#pragma once

#include <string>
#include <vector>

#include "tests/support/subprocess.h"
#include "tests/support/temporary_folder.h"

namespace vigil::test {

// Runs `go tool pprof` with `arguments`; what it saves goes to a temporary folder.
Finished go_pprof(std::vector<std::string> arguments);

}  // namespace vigil::test
