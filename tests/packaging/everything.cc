// A program with all of vigil's optional parts. Ends with 0 if tcmalloc is the allocator and the debug listener starts.
#include <cstddef>
#include <cstdio>

#include "agent/agent.h"
#include "sampler/throw_stack.h"

extern "C" int MallocExtension_GetNumericProperty(const char* property, std::size_t* value);

namespace {

int fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  return 1;
}

}  // namespace

int main() {
  std::size_t allocated = 0;
  if (MallocExtension_GetNumericProperty("generic.current_allocated_bytes", &allocated) != 1 ||
      allocated == 0) {
    return fail("tcmalloc is not the allocator");
  }
  vigil::SystemClock clock;
  vigil::JsonLineSink sink;
  vigil::leakwatch::TaskRegistry tasks(clock);
  const auto agent = vigil::Agent::start({.debug_listen = {"127.0.0.1", 0}}, tasks, sink, clock);
  return agent ? 0 : fail(agent.error().message().c_str());
}
