// C++ symbol names as people read them.
//
//   readable_name("_ZN4demo8checksumESt4spanIKhLm18446744073709551615EE")  == "demo::checksum"
//   readable_name("_ZN12_GLOBAL__N_14pollEi.part.0")                       == "(anonymous
//   namespace)::poll" readable_name("_ZZN4demo3runEvENKUliE_clEi")                           ==
//   "demo::run()::{lambda(int)#1}::operator()" readable_name("nanosleep") == "nanosleep"
//
// Profile clients print a function's name in tables and boxes, and group by it: so neither
// parameters, nor the return type of a template instance, nor the suffixes of the optimizer's
// clones belong to it. Parameters that tell *scopes* apart stay: those of a lambda, and of the
// function that a local entity lives in.
#pragma once

#include <string>
#include <string_view>

namespace vigil::sampler {

// The name without return type, parameter list, cv- and ref-qualifiers, and clone suffixes
// (".part.0", ".isra.0", ".cold",
// "[clone …]"). Names that are not Itanium-mangled C++ (C, Rust's v0, assembly) lose clone
// suffixes and glibc's internal "__GI_", nothing else. Pure; allocates. About 1 us for a usual name.
std::string readable_name(std::string_view symbol);

// The same from an already demangled name: "int demo::pick<int>(int) const [clone .cold]" gives
// "demo::pick<int>". Text that does not look like a function is returned unchanged. Pure.
std::string strip_signature(std::string_view demangled);

}  // namespace vigil::sampler
