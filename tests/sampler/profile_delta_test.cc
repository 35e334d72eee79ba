// What came between two snapshots.
#include "sampler/profile_delta.h"

#include "sampler/pprof_encoder.h"
#include "sampler/profile.h"
#include "tests/sampler/profile_samples.h"
#include "tests/support/catch.h"

namespace vigil::sampler {

using namespace profile_test;

namespace {

StackProfile heap_with(std::vector<StackSample> samples) {
  StackProfile profile;
  profile.name = "heap";
  profile.sample_types = {{"alloc_objects", "count"},
                          {"alloc_space", "bytes"},
                          {"inuse_objects", "count"},
                          {"inuse_space", "bytes"}};
  profile.default_sample_type = "inuse_space";
  profile.period_type = {"space", "bytes"};
  profile.period = 512 * 1024;
  profile.samples = std::move(samples);
  profile.counter_span = CounterSpan::kSinceStart;
  return profile;
}

}  // namespace

TEST_CASE("a delta: totals are differences, what is in use stays, what did not change is gone") {
  StackProfile earlier =
      heap_with({sample({in_leaf()}, {10, 1000, 5, 500}), sample({in_root()}, {7, 700, 0, 0}),
                 sample({in_leaf(), in_root()}, {3, 300, 3, 300})});
  earlier.counters = {{"samples_lost", 2}};
  earlier.settings = {{"rate_ns", 7}};
  StackProfile later =
      heap_with({sample({in_leaf()}, {14, 1400, 4, 400}), sample({in_root()}, {7, 700, 0, 0}),
                 sample({in_leaf(), in_root()}, {3, 300, 2, 200})});
  later.counters = {{"samples_lost", 5}, {"new", 1}};
  later.settings = {{"rate_ns", 9}};
  const StackProfile delta = subtract(later, earlier, std::chrono::seconds(3));
  CHECK(delta.name == "heap");
  CHECK(delta.duration == std::chrono::seconds(3));
  CHECK(delta.counters.at("samples_lost") == 3);
  CHECK(delta.counters.at("new") == 1);
  CHECK(delta.settings.at("rate_ns") == 9);

  const Profile profile = build_profile(delta, *module_table(), nullptr);
  REQUIRE(profile.samples.size() == 2);
  std::vector<std::vector<std::int64_t>> values;
  for (const ProfileSample& s : profile.samples) values.push_back(s.values);
  std::sort(values.begin(), values.end());
  CHECK(values[0] == std::vector<std::int64_t>{0, 0, 2, 200});
  CHECK(values[1] == std::vector<std::int64_t>{4, 400, 4, 400});
}

TEST_CASE("a delta of threads: those that have ended count as less than nothing, as in Go") {
  StackProfile earlier;
  earlier.sample_types = {{"goroutine", "count"}};
  earlier.samples = {sample({in_leaf()}, {2}), sample({in_root()}, {1})};
  StackProfile later;
  later.sample_types = {{"goroutine", "count"}};
  later.samples = {sample({in_leaf()}, {5})};
  earlier.counters = {{"threads_unanswered", 1}};
  later.counters = {{"threads_incomplete", 2}, {"threads_unanswered", 3}};
  const StackProfile delta = subtract(later, earlier, std::chrono::seconds(1));
  CHECK(delta.counters.at("threads_unanswered") == 4);
  CHECK(delta.counters.at("threads_incomplete") == 2);
  const Profile profile = build_profile(delta, *module_table(), nullptr);
  REQUIRE(profile.samples.size() == 2);
  CHECK(profile.samples[0].values[0] + profile.samples[1].values[0] == 2);
  CHECK(std::min(profile.samples[0].values[0], profile.samples[1].values[0]) == -1);
}

}  // namespace vigil::sampler
