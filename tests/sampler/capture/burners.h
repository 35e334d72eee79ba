// Functions that use a known amount of CPU time, for tests of the CPU profiler's accuracy.
#pragma once

#include <string_view>

#include "sampler/stack_profile.h"

namespace vigil::sampler {

// CPU time of the calling thread.
double own_cpu_seconds();

// Burns CPU time of the calling thread, and nothing else.
void burn_cpu_seconds(double seconds);

// The same, exported, to be found by name.
void test_burn_more(double seconds);
void test_burn_less(double seconds);

// Samples of `profile` with a frame of a function whose name has `function` in it.
std::int64_t samples_with(const StackProfile& profile, std::string_view function);

}  // namespace vigil::sampler
