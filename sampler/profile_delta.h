// The difference of two snapshots of one profile. Pure.
#pragma once

#include "base/clock.h"
#include "sampler/stack_profile.h"

namespace vigil::sampler {

// What came between the two, as every page with `seconds` answers: columns of totals (alloc_*, contentions, delay, space,
// …) are differences; columns that begin with "inuse_" keep the later value, because a negative heap helps nobody (Go
// subtracts these too, and its users complain: golang/go#67942). A count that went down (threads that have ended)
// becomes negative, as in Go.
//
// `elapsed` becomes the duration; the name, types and period are the later one's. Counters since the
// start are differences, those of a profile are added up: both were lost. Settings are the later one's. The two must have the same sample types (asserted). The encoder merges what cancels out: samples whose values are
// all zero then are left out of the profile.
StackProfile subtract(StackProfile later, StackProfile earlier, Duration elapsed);

}  // namespace vigil::sampler
