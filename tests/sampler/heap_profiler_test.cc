// The heap profile's arithmetic, and the answer in a program without tcmalloc (this one).
#include "sampler/heap_profiler.h"

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

FrameAddress at(std::uintptr_t pc) { return FrameAddress::return_address(pc); }

}  // namespace

TEST_CASE("heap profiler: unsupported without tcmalloc, and says what to do") {
  const auto heap = HeapProfiler::create();
  REQUIRE_FALSE(heap);
  CHECK(heap.error().code() == ErrorCode::kUnsupported);
  CHECK(heap.error().message().find("tcmalloc") != std::string::npos);
}

TEST_CASE("heap samples: grouped by stack and size, scaled as Go does") {
  const std::vector<HeapSample> samples = {{1000, {at(0x5000), at(0x6000)}},
                                           {1000, {at(0x5000), at(0x6000)}},
                                           {64, {at(0x5000), at(0x6000)}},
                                           {1000, {at(0x7000)}},
                                           {8 << 20, {at(0x7000)}}};
  const StackProfile profile = heap_profile_from_samples(samples, 512 * 1024);
  CHECK(profile.name == "heap");
  CHECK(profile.default_sample_type == "inuse_space");
  REQUIRE(profile.sample_types.size() == 2);
  CHECK(profile.sample_types[0] == ValueType{"inuse_objects", "count"});
  CHECK(profile.sample_types[1] == ValueType{"inuse_space", "bytes"});
  CHECK(profile.period_type == ValueType{"space", "bytes"});
  CHECK(profile.period == 512 * 1024);
  REQUIRE(profile.samples.size() == 4);

  const auto values_of = [&](std::uintptr_t pc, std::int64_t bytes) {
    for (const StackSample& sample : profile.samples) {
      if (sample.stack.frames[0].raw() == pc && sample.labels.at(0).number == bytes) {
        return sample.values;
      }
    }
    return std::vector<std::int64_t>{};
  };
  // 1 / (1 - e^(-1000/524288)) = 524.788; twice.
  CHECK(values_of(0x5000, 1000) == std::vector<std::int64_t>{1050, 1'049'576});
  // 1 / (1 - e^(-64/524288)) = 8192.5
  CHECK(values_of(0x5000, 64) == std::vector<std::int64_t>{8193, 524'320});
  // 16 intervals in one object: it is as good as always sampled.
  CHECK(values_of(0x7000, 8 << 20) == std::vector<std::int64_t>{1, 8'388'609});
}

TEST_CASE("heap samples: an interval of 1 means that everything was sampled") {
  const StackProfile profile = heap_profile_from_samples({{24, {at(0x5000)}}}, 1);
  REQUIRE(profile.samples.size() == 1);
  CHECK(profile.samples[0].values == std::vector<std::int64_t>{1, 24});
  CHECK(profile.samples[0].labels[0].key == "bytes");
  CHECK(profile.samples[0].labels[0].unit == "bytes");
}

TEST_CASE("heap samples: none is an empty profile") {
  CHECK(heap_profile_from_samples({}, 512 * 1024).samples.empty());
}

}  // namespace vigil::sampler
