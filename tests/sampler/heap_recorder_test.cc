// What runs inside malloc: the set of live samples, the countdown, the slots. Objects are made-up addresses.
#include "sampler/sigsafe/heap_recorder.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

#include "sampler/heap_collector.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using sigsafe::heap_recorder;

const void* object(std::uintptr_t number) {
  return reinterpret_cast<const void*>(0x10000 + 16 * number);
}

std::size_t live_count(const sigsafe::LiveSamples& live) {
  std::size_t count = 0;
  live.for_each([&](const sigsafe::LiveObject&) { ++count; });
  return count;
}

// Samples of one stack: all buckets here have one.
HeapBucket only_bucket(HeapCollector& collector) {
  const std::vector<HeapBucket> buckets = collector.buckets();
  REQUIRE(buckets.size() == 1);
  return buckets[0];
}

__attribute__((noinline)) void record_here(std::uintptr_t number, std::uint64_t bytes,
                                           int shift = 0) {
  sigsafe::record_allocation(object(number), bytes, shift);
  asm volatile("");
}

struct Recorder {
  Modules modules;
  Unwinder unwinder{modules};
  HeapCollector collector{modules, unwinder};
  Recorder() { REQUIRE(collector.start(512 * 1024)); }
};

}  // namespace

TEST_CASE("live samples: in, found, out, and a stranger is not there") {
  auto live = std::make_unique<sigsafe::LiveSamples>();
  CHECK_FALSE(live->may_hold(object(1)));
  CHECK_FALSE(live->remove(object(1)));
  REQUIRE(live->insert(object(1), 100, sigsafe::mark_of(7, sigsafe::kBucketPending)));
  CHECK(live->may_hold(object(1)));
  live->set_bucket(object(1), 6, 3);  // another sample's: the address had been used before
  live->for_each([](const sigsafe::LiveObject& found) {
    CHECK(found.bytes == 100);
    CHECK(found.mark == sigsafe::mark_of(7, sigsafe::kBucketPending));
  });
  live->set_bucket(object(1), 7, 3);
  live->for_each(
      [](const sigsafe::LiveObject& found) { CHECK(found.mark == sigsafe::mark_of(7, 3)); });
  CHECK(live->remove(object(1)));
  CHECK_FALSE(live->may_hold(object(1)));
  CHECK(live_count(*live) == 0);
}

TEST_CASE("live samples: a null pointer is no object, though an empty place looks like one") {
  auto live = std::make_unique<sigsafe::LiveSamples>();
  // An object that shares its byte of the filter with the null pointer.
  std::uintptr_t i = 1;
  for (; !live->may_hold(nullptr); ++i) {
    REQUIRE(live->insert(object(i), 1, sigsafe::mark_of(1, 2)));
    if (!live->may_hold(nullptr)) REQUIRE(live->remove(object(i)));
  }
  CHECK_FALSE(live->remove(nullptr));
  CHECK(live->may_hold(object(i - 1)));
  CHECK(live->remove(object(i - 1)));
}

TEST_CASE("live samples: full sets refuse, and nothing is lost or left") {
  auto live = std::make_unique<sigsafe::LiveSamples>();
  constexpr std::uintptr_t kMany = 2 * sigsafe::kLiveSets * sigsafe::kLiveWays;  // twice what fits
  std::vector<std::uintptr_t> inside;
  for (std::uintptr_t i = 1; i <= kMany; ++i) {
    if (live->insert(object(i), i, sigsafe::mark_of(i, 2))) inside.push_back(i);
  }
  CHECK(inside.size() < kMany);
  CHECK(inside.size() > kMany / 4);
  CHECK(live_count(*live) == inside.size());
  for (const std::uintptr_t i : inside) {
    if (!live->may_hold(object(i)) || !live->remove(object(i))) FAIL("object " << i);
  }
  CHECK(live_count(*live) == 0);
}

TEST_CASE("live samples: however many came and went, few that are alive take few pages") {
  static constinit sigsafe::LiveSamples live;  // as the recorder's: zeros that nobody has written
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  constexpr std::uintptr_t kAlive = 100;
  for (std::uintptr_t i = 0; i < 50'000; ++i) {
    if (!live.insert(object(i), 1, sigsafe::mark_of(i + 1, 2))) FAIL("object " << i);
    if (i >= kAlive && !live.remove(object(i - kAlive))) FAIL("object " << i - kAlive);
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(&live) / page * page;
  std::vector<unsigned char> resident((sizeof(live) + 2 * page) / page);
  REQUIRE(::mincore(reinterpret_cast<void*>(begin), sizeof(live), resident.data()) == 0);
  const auto pages = std::count_if(resident.begin(), resident.end(),
                                   [](unsigned char each) { return (each & 1) != 0; });
  // The filter, the smallest table's keys and values, and the ends of each that share a page with something else.
  const std::size_t bytes =
      sigsafe::kLiveFilterBytes + sigsafe::kLiveTables[0] * sigsafe::kLiveWays * 24;
  CHECK(static_cast<std::size_t>(pages) <= bytes / page + 6);
  CHECK(live_count(live) == kAlive);
}

TEST_CASE("live samples: a bucket that comes after its object has gone makes no page ours") {
  alignas(4096) static constinit sigsafe::LiveSamples live;
  const pid_t child = ::fork();
  if (child == 0) {
    // A write ends it.
    if (::mprotect(&live, sizeof(live), PROT_READ) != 0) ::_exit(2);
    for (std::uintptr_t i = 1; i < 1'000; ++i) live.set_bucket(object(i), i, 3);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("live samples: threads that insert and remove at once, with a reader beside them") {
  auto live = std::make_unique<sigsafe::LiveSamples>();
  std::atomic<bool> wrong{false};
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      live->for_each([&](const sigsafe::LiveObject& found) {
        // Bytes and ticket are of one object, whatever happens meanwhile.
        if (found.bytes != sigsafe::mark_ticket(found.mark)) wrong = true;
      });
    }
  });
  std::vector<std::thread> writers;
  for (std::uintptr_t w = 0; w < 3; ++w) {
    writers.emplace_back([&, w] {
      for (std::uint64_t round = 1; round <= 200'000; ++round) {
        const void* mine = object(w * 1000 + round % 7);
        const std::uint64_t ticket = round * 3 + w;
        if (!live->insert(mine, ticket, sigsafe::mark_of(ticket, 2)) || !live->remove(mine))
          wrong = true;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  stop = true;
  reader.join();
  CHECK_FALSE(wrong);
  CHECK(live_count(*live) == 0);
}

TEST_CASE("the countdown is exponentially distributed") {
  constexpr std::uint64_t kMean = 512 * 1024;
  constexpr int kDraws = 200'000;
  std::uint64_t random = 88172645463325252u;
  double sum = 0;
  int above_mean = 0;
  int below_hundredth = 0;
  for (int i = 0; i < kDraws; ++i) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    const std::uint64_t drawn = sigsafe::exponential(random, kMean);
    sum += static_cast<double>(drawn);
    above_mean += drawn > kMean;
    below_hundredth += drawn < kMean / 100;
  }
  CHECK(sum / kDraws == Approx(kMean).epsilon(0.01));
  CHECK(above_mean / double(kDraws) == Approx(std::exp(-1)).epsilon(0.02));
  CHECK(below_hundredth / double(kDraws) == Approx(0.00995).epsilon(0.1));
  // The ends: never 0, never endless.
  CHECK(sigsafe::exponential(UINT64_MAX, kMean) == 1);
  CHECK(sigsafe::exponential(0, kMean) == Approx(64 * std::log(2.0) * kMean).epsilon(0.001));
  // Against the real logarithm.
  for (const double u : {0.9, 0.51, 0.5, 0.49, 0.01, 1e-9}) {
    const auto r = static_cast<std::uint64_t>(u * 0x1p64);
    CHECK(sigsafe::exponential(r, 1'000'000'000) == Approx(-std::log(u) * 1e9).epsilon(1e-5));
  }
}

TEST_CASE("recorded samples come out by stack and size, and freed ones leave the in-use column") {
  Recorder recorder;
  for (std::uintptr_t i = 0; i < 10; ++i) record_here(i, 4096);
  CHECK(sigsafe::record_free(object(3)));
  CHECK_FALSE(sigsafe::record_free(object(3)));
  const HeapBucket bucket = only_bucket(recorder.collector);
  CHECK(bucket.bytes == 4096);
  CHECK(bucket.alloc_objects == 10);
  CHECK(bucket.inuse_objects == 9);
  CHECK(bucket.stack.end == StackEnd::kComplete);
  CHECK(bucket.stack.frames.size() > 3);
  // Freed after its stack was unwound.
  CHECK(sigsafe::record_free(object(4)));
  CHECK(only_bucket(recorder.collector).inuse_objects == 8);
  record_here(20, 64);
  CHECK(recorder.collector.buckets().size() == 2);
  for (std::uintptr_t i = 0; i <= 20; ++i) (void)sigsafe::record_free(object(i));
}

TEST_CASE("more samples than slots: what is not captured is counted, and its totals stay") {
  Recorder recorder;
  // The collector cannot take its turn: its slots are all in a writer's hands.
  while (heap_recorder.free_slots.take_lowest() != sigsafe::kHeapSlots) {
  }
  record_here(1, 1000);
  record_here(2, 1000);
  CHECK(sigsafe::record_free(object(1)));
  heap_recorder.free_slots.set_all();
  const HeapBucket bucket = only_bucket(recorder.collector);
  CHECK(bucket.stack.frames.empty());
  CHECK(bucket.stack.end == StackEnd::kNotWalked);
  CHECK(bucket.bytes == 768);  // the middle of 512 to 1,023
  CHECK(bucket.alloc_objects == 2);
  CHECK(bucket.inuse_objects == 1);
  CHECK(recorder.collector.loss().samples_lost == 2);
  CHECK(sigsafe::record_free(object(2)));
}

TEST_CASE("samples of another interval, captured or not, are kept apart from the others") {
  Recorder recorder;
  constexpr std::int64_t kBase = 512 * 1024;
  record_here(1, 4096);
  record_here(2, 4096, 3);
  CHECK(recorder.collector.buckets().size() == 2);
  while (heap_recorder.free_slots.take_lowest() != sigsafe::kHeapSlots) {
  }
  record_here(3, 1000, 3);
  heap_recorder.free_slots.set_all();
  const auto of_interval = [&](std::int64_t bytes, std::int64_t interval) {
    for (const HeapBucket& bucket : recorder.collector.buckets()) {
      if (bucket.bytes == bytes && bucket.interval_bytes == interval) return bucket;
    }
    return HeapBucket{};
  };
  CHECK(of_interval(4096, kBase).alloc_objects == 1);
  CHECK(of_interval(4096, kBase << 3).alloc_objects == 1);
  CHECK(of_interval(4096, kBase << 3).inuse_objects == 1);
  CHECK(of_interval(768, kBase << 3).alloc_objects == 1);
  CHECK(of_interval(768, kBase << 3).inuse_objects == 1);
  for (std::uintptr_t i = 1; i <= 3; ++i) CHECK(sigsafe::record_free(object(i)));
  CHECK(of_interval(4096, kBase << 3).inuse_objects == 0);
  CHECK(of_interval(768, kBase << 3).inuse_objects == 0);
}

TEST_CASE("an interval that changes all the time leaves the sum as it is") {
  Recorder recorder;
  constexpr std::uint64_t kBase = 512 * 1024;
  constexpr std::uint64_t kBytes = 16 * 1024;
  constexpr int kAllocations = 2'000'000;
  double estimate = 0;
  for (int i = 0; i < kAllocations; ++i) {
    if (i % 97 == 0) heap_recorder.interval.store(i % 2 == 0 ? kBase : kBase << 2);
    if (!sigsafe::count_down(kBytes)) continue;
    const int shift = sigsafe::countdown_ended(kBytes);
    if (shift == sigsafe::kNoSample) continue;
    const auto interval = static_cast<double>(kBase << shift);
    estimate += kBytes / (1 - std::exp(-static_cast<double>(kBytes) / interval));
  }
  heap_recorder.interval.store(kBase);
  // Some 40,000 samples, of unequal weight: 1 % is a standard deviation and more.
  CHECK(estimate == Approx(double{kBytes} * kAllocations).epsilon(0.04));
}

TEST_CASE("how much coarser an interval has to be") {
  using std::chrono::milliseconds;
  const auto step = [](std::int64_t taken) {
    return interval_step(taken, milliseconds(500), 200);  // 100 are allowed
  };
  CHECK(step(100) == 0);
  CHECK(step(101) == 1);
  CHECK(step(200) == 1);
  CHECK(step(201) == 2);
  CHECK(step(6400) == 6);
  CHECK(step(26) == 0);
  CHECK(step(25) == -1);
  CHECK(step(13) == -1);
  CHECK(step(12) == -2);
  CHECK(step(0) <= -static_cast<int>(sigsafe::kShifts));
  CHECK(interval_step(1'000'000, milliseconds(1), 0) < 0);  // no bound
}

TEST_CASE("more samples than a second may have make the interval coarser until they are over") {
  Recorder recorder;
  constexpr std::int64_t kBase = 512 * 1024;
  recorder.collector.stop();
  REQUIRE(recorder.collector.start(kBase, 50));
  // As a program that allocates: each end of the countdown is a sample.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  std::uintptr_t number = 0;
  while (recorder.collector.interval_in_effect() < 8 * kBase &&
         std::chrono::steady_clock::now() < until) {
    if (!sigsafe::count_down(4096)) continue;
    const int shift = sigsafe::countdown_ended(4096);
    if (shift == sigsafe::kNoSample) continue;
    record_here(++number, 4096, shift);
    CHECK(sigsafe::record_free(object(number)));
  }
  CHECK(recorder.collector.interval_in_effect() >= 8 * kBase);
  while (recorder.collector.interval_in_effect() != kBase &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHECK(recorder.collector.interval_in_effect() == kBase);
}

TEST_CASE("a second collector is refused while the first has the recorder") {
  Recorder recorder;
  HeapCollector second(recorder.modules, recorder.unwinder);
  const auto started = second.start(512 * 1024);
  REQUIRE_FALSE(started);
  CHECK(started.error().code() == ErrorCode::kBusy);
  recorder.collector.stop();
  CHECK(second.start(512 * 1024));
}

TEST_CASE("what an earlier collector had found is not taken for another stack's") {
  {
    Recorder earlier;
    record_here(1, 4096);
    CHECK(only_bucket(earlier.collector).inuse_objects == 1);
    // Switched off and on again, it still knows.
    earlier.collector.stop();
    REQUIRE(earlier.collector.start(512 * 1024));
    CHECK_FALSE(only_bucket(earlier.collector).stack.frames.empty());
  }
  Recorder later;
  record_here(2, 64);
  CHECK(sigsafe::record_free(object(2)));
  for (const HeapBucket& bucket : later.collector.buckets()) {
    CHECK(bucket.inuse_objects == (bucket.stack.frames.empty() ? 1 : 0));
  }
  CHECK(sigsafe::record_free(object(1)));
}

TEST_CASE("P6.7: a forked child records nothing, and still knows what is freed") {
  Recorder recorder;
  record_here(1, 4096);
  const pid_t child = ::fork();
  if (child == 0) {
    record_here(2, 4096);
    const bool quiet = !sigsafe::record_free(object(2));
    const bool consistent = sigsafe::record_free(object(1));
    ::_exit(quiet && consistent ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(only_bucket(recorder.collector).inuse_objects == 1);
  CHECK(sigsafe::record_free(object(1)));
}

}  // namespace vigil::sampler
