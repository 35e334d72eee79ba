// Profiles in the formats of gperftools, for google-pprof, jeprof and brpc's pprof. Pure.
//
// All carry return addresses as they are on the stack, because their readers subtract 1 themselves, and end with the text
// of /proc/self/maps (`maps`), because their readers find the binaries by it. Labels do not exist in these formats.
// Sources: gperftools docs/pprof_remote_servers.html, src/profiledata.cc, src/malloc_extension.cc;
// google/pprof profile/legacy_profile.go.
#pragma once

#include <string>
#include <string_view>

#include "sampler/stack_profile.h"

namespace vigil::sampler {

// The binary CPU profile: 64-bit little-endian words `0 3 0 <period in us> 0`, for each stack `<count> <n> <pc>…`, the
// trailer `0 1 0`, then the maps. `profile` has the columns of CpuProfiler. Stacks without frames cannot be told in it and
// are left out.
std::string encode_legacy_cpu(const StackProfile& profile, std::string_view maps);

// heap_v2: "heap profile: <objects>: <bytes> [<allocated>: <bytes>] @ heap_v2/<interval>", rows of *sampled* objects, which
// the reader scales up. `profile` is one of HeapProfiler, at most two columns of it missing.
std::string render_legacy_heap(const StackProfile& profile, std::string_view maps);

// growthz: the same form, not scaled. `profile` is one of HeapProfiler::growth().
std::string render_legacy_growth(const StackProfile& profile, std::string_view maps);

// "--- contention:", then "<nanoseconds> <count> @ <pc>…". `profile` has the columns contentions/count, delay/nanoseconds.
std::string render_legacy_contention(const StackProfile& profile, std::string_view maps);

}  // namespace vigil::sampler
