// The heap profile's arithmetic, and the answer in a program without a source (this one).
#include "sampler/heap_profiler.h"

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

Stack stack_at(std::initializer_list<std::uintptr_t> pcs) {
  Stack stack;
  for (const std::uintptr_t pc : pcs) stack.frames.push_back(FrameAddress::return_address(pc));
  stack.end = StackEnd::kComplete;
  return stack;
}

}  // namespace

TEST_CASE("heap profiler: unsupported without a source, and says what to do") {
  Modules modules;
  Unwinder unwinder(modules);
  const auto heap = HeapProfiler::create(modules, unwinder);
  REQUIRE_FALSE(heap);
  CHECK(heap.error().code() == ErrorCode::kUnsupported);
  CHECK(heap.error().message().find("tcmalloc") != std::string::npos);
  CHECK(heap.error().message().find("vigil::malloc_interpose") != std::string::npos);
}

TEST_CASE("heap buckets: grouped by stack and size, scaled as Go does") {
  const std::vector<HeapBucket> buckets = {{stack_at({0x5000, 0x6000}), 1000, 0, 1},
                                           {stack_at({0x5000, 0x6000}), 1000, 5, 1},
                                           {stack_at({0x5000, 0x6000}), 64, 1, 1},
                                           {stack_at({0x7000}), 1000, 1, 0},
                                           {stack_at({0x7000}), 8 << 20, 2, 1}};
  const StackProfile profile = heap_profile_of(buckets, 512 * 1024, HeapColumns::kAllocAndInuse);
  CHECK(profile.name == "heap");
  CHECK(profile.default_sample_type == "inuse_space");
  REQUIRE(profile.sample_types.size() == 4);
  CHECK(profile.sample_types[0] == ValueType{"alloc_objects", "count"});
  CHECK(profile.sample_types[1] == ValueType{"alloc_space", "bytes"});
  CHECK(profile.sample_types[2] == ValueType{"inuse_objects", "count"});
  CHECK(profile.sample_types[3] == ValueType{"inuse_space", "bytes"});
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
  // 1 / (1 - e^(-1000/524288)) = 524.788; five allocated, two alive.
  CHECK(values_of(0x5000, 1000) == std::vector<std::int64_t>{2624, 2'623'941, 1050, 1'049'576});
  // 1 / (1 - e^(-64/524288)) = 8192.5
  CHECK(values_of(0x5000, 64) == std::vector<std::int64_t>{8193, 524'320, 8193, 524'320});
  CHECK(values_of(0x7000, 1000) == std::vector<std::int64_t>{525, 524'788, 0, 0});
  // 16 intervals in one object: it is as good as always sampled.
  CHECK(values_of(0x7000, 8 << 20) == std::vector<std::int64_t>{2, 16'777'218, 1, 8'388'609});
}

TEST_CASE("heap buckets: each is scaled by its own interval, and one group is the sum") {
  const std::vector<HeapBucket> buckets = {{stack_at({0x5000}), 64, 2, 1, 512 * 1024},
                                           {stack_at({0x5000}), 64, 1, 1, 1024 * 1024},
                                           {stack_at({0x5000}), 64, 1, 0, 0}};
  const StackProfile profile = heap_profile_of(buckets, 256 * 1024, HeapColumns::kAllocAndInuse);
  REQUIRE(profile.samples.size() == 1);
  // A sample stands for 8192.5, 16384.5 and 4096.5 objects.
  CHECK(profile.samples[0].values[0] == 2 * 8192 + 16384 + 4096 + 2);
  CHECK(profile.samples[0].values[2] == 8192 + 16384 + 1);
}

TEST_CASE("heap buckets: in-use columns only where nothing else is known") {
  const std::vector<HeapBucket> buckets = {{stack_at({0x5000}), 24, 0, 3}};
  const StackProfile profile = heap_profile_of(buckets, 1, HeapColumns::kInuse);
  REQUIRE(profile.sample_types.size() == 2);
  CHECK(profile.sample_types[0] == ValueType{"inuse_objects", "count"});
  REQUIRE(profile.samples.size() == 1);
  // An interval of 1 means that everything was sampled.
  CHECK(profile.samples[0].values == std::vector<std::int64_t>{3, 72});
  CHECK(profile.samples[0].labels[0].key == "bytes");
  CHECK(profile.samples[0].labels[0].unit == "bytes");
}

TEST_CASE("heap buckets: none is an empty profile, and allocs is the same with another default") {
  CHECK(heap_profile_of({}, 512 * 1024, HeapColumns::kAllocAndInuse).samples.empty());
  const StackProfile allocs =
      allocs_profile_of(heap_profile_of({}, 512 * 1024, HeapColumns::kAllocAndInuse));
  CHECK(allocs.name == "allocs");
  CHECK(allocs.default_sample_type == "alloc_space");
  CHECK(allocs.sample_types.size() == 4);
}

}  // namespace vigil::sampler
