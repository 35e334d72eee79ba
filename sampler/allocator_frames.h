// Hides the allocator in heap profiles. Pure.
#pragma once

#include <string_view>

#include "sampler/profile.h"

namespace vigil::sampler {

// Whether a function of this (readable) name only passes an allocation on: malloc and its family,
// operator new, everything of tcmalloc, and what the standard library keeps for itself between a
// container and operator new (std::allocator…, names that begin with std::_).
bool is_allocator_function(std::string_view name);

// Takes the allocator's frames off the leaf end of every sample, inlined ones too; at least one
// frame stays. Samples that become equal stay apart: build_profile() adds them up. Locations that are
// not used any more stay in the profile.
void drop_allocator_frames(Profile& profile);

}  // namespace vigil::sampler
