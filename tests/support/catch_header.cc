// Nothing: CMake compiles the header that all test programs share as part of a target, and a target
// has a file (vigil_test_headers in tests/CMakeLists.txt).
#include "tests/support/catch.h"
