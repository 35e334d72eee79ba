// What a live heap profiler says of one function.
#pragma once

#include <cstdint>
#include <string>

#include "sampler/heap_profiler.h"
#include "sampler/profile.h"
#include "tests/support/catch.h"

namespace vigil::sampler::test {

struct HeapColumnValues {
  std::int64_t alloc_objects = 0;
  std::int64_t alloc_space = 0;
  std::int64_t inuse_objects = 0;
  std::int64_t inuse_space = 0;
};

inline bool has_function(const Profile& profile, const ProfileSample& sample,
                         const std::string& function) {
  for (const LocationIndex i : sample.locations) {
    for (const ProfileLine& line : profile.locations[index(i)].lines) {
      if (profile.functions[index(line.function)].name == function) return true;
    }
  }
  return false;
}

// The sums over the stacks with that function. Four columns are required.
inline HeapColumnValues heap_columns_of(HeapProfiler& heap, Symbolizer& symbolizer,
                                        const std::string& function) {
  Modules modules;
  const auto table = modules.refresh();
  REQUIRE(table);
  auto stacks = heap.snapshot(SystemClock().wall_now());
  REQUIRE(stacks);
  REQUIRE(stacks->sample_types.size() == 4);
  const Profile profile = build_profile(*stacks, **table, &symbolizer);
  HeapColumnValues sums;
  for (const ProfileSample& sample : profile.samples) {
    if (!has_function(profile, sample, function)) continue;
    sums.alloc_objects += sample.values[0];
    sums.alloc_space += sample.values[1];
    sums.inuse_objects += sample.values[2];
    sums.inuse_space += sample.values[3];
  }
  return sums;
}

}  // namespace vigil::sampler::test
