// A program with nothing but a registry of tasks. Ends with 0 if it sees its own, and if exceptions pass destructors: they
// do not where libunwind.a stands before libgcc_s on the link line (cmake/VigilDependencies.cmake).
#include <stdexcept>

#include "leakwatch/task_registry.h"

namespace {

int destructors_run = 0;
struct Counted {
  ~Counted() { ++destructors_run; }
};

void throw_past(int destructors) {
  const Counted counted;
  if (destructors == 1) throw std::runtime_error("thrown");
  throw_past(destructors - 1);
}

}  // namespace

int main() {
  vigil::SystemClock clock;
  vigil::leakwatch::TaskRegistry tasks(clock);
  const vigil::leakwatch::Task task(tasks, tasks.intern("import"));
  try {
    throw_past(3);
  } catch (const std::runtime_error&) {
    return destructors_run == 3 && tasks.snapshot().size() == 1 ? 0 : 1;
  }
}
