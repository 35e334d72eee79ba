// Stacks by the names of their functions, for tests that know what they called.
#pragma once

#include <dlfcn.h>

#include <string>
#include <vector>

#include "sampler/address.h"

// A function with a frame and a dynamic symbol of its own, under the name that it has here.
#define VIGIL_TEST_FUNCTION extern "C" __attribute__((noinline, noclone, visibility("default")))

namespace vigil::sampler {

// The names of the dynamic symbols that cover the frames, innermost first; "?" where there is none.
inline std::vector<std::string> frame_names(const Stack& stack) {
  std::vector<std::string> names;
  for (const FrameAddress frame : stack.frames) {
    Dl_info info{};
    const bool known = dladdr(reinterpret_cast<void*>(frame.lookup()), &info) != 0;
    names.emplace_back(known && info.dli_sname != nullptr ? info.dli_sname : "?");
  }
  return names;
}

}  // namespace vigil::sampler
