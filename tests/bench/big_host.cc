// A program whose code is in one huge library: `scripts/bench sampler --only=big` profiles it.
//
// usage: bench-big-host LIBRARY
//
// Prints the debug listener's address, then calls the library's functions for ever on two threads.

#include <dlfcn.h>

#include <cstdio>
#include <string>
#include <thread>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "leakwatch/task_registry.h"

namespace {

using BigFunction = long (*)(long);

void work(const BigFunction* functions, unsigned count, unsigned seed) {
  long sum = 0;
  for (unsigned random = seed;;) {
    random = random * 1664525u + 1013904223u;
    sum += functions[(random >> 8) % count](sum);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: bench-big-host LIBRARY\n", stderr);
    return 2;
  }
  void* const library = dlopen(argv[1], RTLD_NOW);
  if (library == nullptr) {
    std::fprintf(stderr, "bench-big-host: %s\n", dlerror());
    return 1;
  }
  const auto* functions = static_cast<const BigFunction*>(dlsym(library, "big_functions"));
  const auto* count = static_cast<const unsigned*>(dlsym(library, "big_functions_count"));
  if (functions == nullptr || count == nullptr) return 1;
  vigil::SystemClock clock;
  vigil::JsonLineSink sink;
  vigil::leakwatch::TaskRegistry tasks(clock);
  vigil::AgentOptions options;
  options.debug_listen.port = 0;
  auto agent = vigil::Agent::start(options, tasks, sink, clock);
  if (!agent) {
    std::fprintf(stderr, "bench-big-host: %s\n", agent.error().message().c_str());
    return 1;
  }
  std::printf("%u\n", static_cast<unsigned>((*agent)->debug_endpoint().port));
  std::fflush(stdout);
  std::thread other([&] { work(functions, *count, 1); });
  work(functions, *count, 2);
}
