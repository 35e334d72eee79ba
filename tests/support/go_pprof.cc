#include "tests/support/go_pprof.h"

#include <cstdlib>
#include <stdexcept>

namespace vigil::test {

Finished go_pprof(std::vector<std::string> arguments) {
  static const TemporaryFolder home;
  arguments.insert(arguments.begin(), {"go", "tool", "pprof"});
  Subprocess process(arguments,
                     {{"PPROF_TMPDIR", home.path.string()}, {"HOME", home.path.string()}});
  return process.wait();
}

}  // namespace vigil::test
