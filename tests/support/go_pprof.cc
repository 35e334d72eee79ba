#include "tests/support/go_pprof.h"

#include <cstdlib>
#include <stdexcept>

namespace vigil::test {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "vigil-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path = name;
}

TemporaryFolder::~TemporaryFolder() { std::filesystem::remove_all(path); }

Finished go_pprof(std::vector<std::string> arguments) {
  static const TemporaryFolder home;
  arguments.insert(arguments.begin(), {"go", "tool", "pprof"});
  Subprocess process(arguments,
                     {{"PPROF_TMPDIR", home.path.string()}, {"HOME", home.path.string()}});
  return process.wait();
}

}  // namespace vigil::test
