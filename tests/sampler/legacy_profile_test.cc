// The formats of gperftools, byte by byte; the real clients read them in tests/integration.
#include "sampler/legacy_profile.h"

#include <cstring>

#include "sampler/heap_profiler.h"
#include "tests/sampler/profile_samples.h"
#include "tests/support/catch.h"

namespace vigil::sampler {

using namespace profile_test;

namespace {

constexpr std::string_view kMaps = "00400000-00500000 r-xp 00000000 08:01 1 /bin/demo\n";

FrameAddress at(std::uintptr_t pc) { return FrameAddress::return_address(pc); }

std::vector<std::uint64_t> words_of(const std::string& bytes, std::size_t count) {
  std::vector<std::uint64_t> words(count);
  REQUIRE(bytes.size() >= 8 * count);
  std::memcpy(words.data(), bytes.data(), 8 * count);
  return words;
}

}  // namespace

TEST_CASE("legacy CPU: header, stacks as return addresses, trailer, maps") {
  StackProfile profile = cpu_profile();
  profile.samples = {sample({FrameAddress::instruction(0x401000), at(0x402005)}, {3, 30}),
                     sample({}, {9, 90}),  // without a stack: cannot be told
                     sample({at(0x403000)}, {1, 10})};
  const std::string body = encode_legacy_cpu(profile, kMaps);
  CHECK(words_of(body, 15) == std::vector<std::uint64_t>{0, 3, 0, 10'000, 0,        //
                                                         3, 2, 0x401000, 0x402005,  //
                                                         1, 1, 0x403000,            //
                                                         0, 1, 0});
  CHECK(body.substr(15 * 8) == kMaps);
}

TEST_CASE("legacy heap: rows are what was sampled, not what it stands for") {
  HeapBucket bucket;
  bucket.stack = {{at(0x401005), at(0x402005)}, StackEnd::kComplete};
  bucket.bytes = 1000;
  bucket.alloc_objects = 5;
  bucket.inuse_objects = 2;
  HeapBucket lost;
  lost.bytes = 96;
  lost.alloc_objects = 1;
  const StackProfile heap =
      heap_profile_of(std::vector{bucket, lost}, 512 * 1024, HeapColumns::kAllocAndInuse);
  CHECK(render_legacy_heap(heap, kMaps) ==
        "heap profile: 2: 2000 [6: 5096] @ heap_v2/524288\n"
        "2: 2000 [5: 5000] @ 0x401005 0x402005\n"
        "\nMAPPED_LIBRARIES:\n" +
            std::string(kMaps));
  // Where nothing is known of the past, the present stands in, which Go's parser takes for "no such columns".
  const StackProfile inuse = heap_profile_of(std::vector{bucket}, 512 * 1024, HeapColumns::kInuse);
  CHECK(render_legacy_heap(inuse, kMaps)
            .starts_with("heap profile: 2: 2000 [2: 2000] @ heap_v2/524288\n"));
}

TEST_CASE("legacy growth and contention") {
  StackProfile growth;
  growth.sample_types = {{"objects", "count"}, {"space", "bytes"}};
  growth.samples = {sample({at(0x401005)}, {2, 8192})};
  CHECK(render_legacy_growth(growth, kMaps) ==
        "heap profile: 2: 8192 [2: 8192] @ growthz\n2: 8192 [2: 8192] @ 0x401005\n"
        "\nMAPPED_LIBRARIES:\n" +
            std::string(kMaps));
  StackProfile mutex;
  mutex.sample_types = {{"contentions", "count"}, {"delay", "nanoseconds"}};
  mutex.samples = {sample({at(0x401005)}, {3, 1500})};
  CHECK(render_legacy_contention(mutex, kMaps) ==
        "--- contention:\ncycles/second=1000000000\nsampling period=1\n1500 3 @ 0x401005\n"
        "\nMAPPED_LIBRARIES:\n" +
            std::string(kMaps));
}

}  // namespace vigil::sampler
