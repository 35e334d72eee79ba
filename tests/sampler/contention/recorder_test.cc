// The collector without interposed functions: waits are made by calling the recorder.

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "sampler/contention/tables_setup.h"
#include "sampler/contention/wait_recorder.h"
#include "sampler/contention_profiler.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;
using contention::Site;
using contention::WaitKind;

struct Parts {
  SystemClock clock;
  Modules modules;
  Unwinder unwinder{modules};
  Result<std::unique_ptr<ContentionProfiler>> create(ContentionOptions options) {
    return ContentionProfiler::create_without_hooks(options, clock, modules, unwinder);
  }
};

struct Sums {
  std::int64_t count = 0;
  std::int64_t delay_ns = 0;
};

Sums sums_of(ContentionProfiler& profiler, WaitView view) {
  const auto profile = profiler.waits(view);
  Sums sums;
  if (!profile) return sums;
  for (const StackSample& sample : profile->samples) {
    sums.count += sample.values[0];
    sums.delay_ns += sample.values[1];
  }
  return sums;
}

// Two threads wait at `lock` until both are in; then each is charged to the caller.
void wait_in_two_threads(const void* lock) {
  std::atomic<int> waiting{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      const contention::WaitScope wait({WaitKind::kMutex, 0x5000, 0}, lock);
      ++waiting;
      go.wait(false);
    });
  }
  while (waiting != 2) std::this_thread::yield();
  contention::record_holder({WaitKind::kHolder, 0x6000, 0}, contention::charge_holder(lock));
  go = true;
  go.notify_all();
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("a wait of the rate or more is always a sample and stands for itself") {
  for (const std::int64_t delay : {1'000, 1'001, 5'000}) {
    const auto weight = contention::weigh(delay, 1'000, 999);
    CHECK(weight.sampled);
    CHECK(weight.count == 1);
    CHECK(weight.delay_ns == delay);
  }
}

TEST_CASE("a shorter wait is a sample in proportion, and stands for its kind") {
  CHECK(contention::weigh(999, 1'000, 998).sampled);
  CHECK_FALSE(contention::weigh(999, 1'000, 999).sampled);
  const auto weight = contention::weigh(250, 1'000, 249);
  CHECK(weight.sampled);
  CHECK(weight.count == 4);
  CHECK(weight.delay_ns == 1'000);
  CHECK_FALSE(contention::weigh(250, 1'000, 250).sampled);
}

TEST_CASE("sampled sums have the expectation of the true ones") {
  // Every random number modulo the rate, once: the mean is exact.
  constexpr std::int64_t kRate = 1'000;
  for (const std::int64_t delay : {1, 10, 333, 999}) {
    double count = 0;
    std::int64_t sum = 0;
    for (std::uint64_t random = 0; random < kRate; ++random) {
      const auto weight = contention::weigh(delay, kRate, random);
      count += weight.count;
      sum += weight.delay_ns;
    }
    CHECK(count == Approx(kRate));
    CHECK(sum == delay * kRate);
  }
}

TEST_CASE("without interposed functions there is a sentence that says what to do") {
  Parts parts;
  const auto created = ContentionProfiler::create({}, parts.clock, parts.modules, parts.unwinder);
  REQUIRE_FALSE(created);
  CHECK(created.error().code() == ErrorCode::kUnsupported);
  CHECK(created.error().message().find("vigil::contention") != std::string::npos);
}

TEST_CASE("options out of range are refused") {
  Parts parts;
  CHECK_FALSE(parts.create({.rate = -1ns}));
  CHECK_FALSE(parts.create({.rate = kContentionRateMax + 1ns}));
  CHECK_FALSE(parts.create({.stacks_max = 15}));
  CHECK_FALSE(parts.create({.samples_per_second_max = 9}));
  auto one = parts.create({.rate = kContentionRateMax, .stacks_max = 16});
  REQUIRE(one);
  CHECK((*one)->rate() == kContentionRateMax);
  const auto two = parts.create({});
  REQUIRE_FALSE(two);
  CHECK(two.error().code() == ErrorCode::kBusy);
  CHECK_FALSE((*one)->set_rate(-1ns));
}

TEST_CASE("waiters and holders are in the profiles of their kind") {
  Parts parts;
  auto profiler = parts.create({.rate = 1ns});
  REQUIRE(profiler);
  int lock = 0;
  const auto before = parts.clock.now();
  wait_in_two_threads(&lock);
  const std::int64_t elapsed = (parts.clock.now() - before).count();
  const Sums waiters = sums_of(**profiler, WaitView::kMutex);
  const Sums holders = sums_of(**profiler, WaitView::kMutexHolder);
  CHECK(waiters.count == 2);
  CHECK(waiters.delay_ns > holders.delay_ns);  // by the hand-over
  CHECK(waiters.delay_ns <= 2 * elapsed);
  CHECK(holders.count == 2);
  CHECK(holders.delay_ns > 0);
  CHECK(sums_of(**profiler, WaitView::kBlock).count == 2);
  const ContentionCounters counters = (*profiler)->counters();
  CHECK(counters.waiting == 0);
  CHECK(counters.samples_lost == 0);
  CHECK(counters.handoff.count() > 0);
}

TEST_CASE("switched off, nothing is counted, and the profile says how to switch it on") {
  Parts parts;
  auto profiler = parts.create({.rate = 0ns});
  REQUIRE(profiler);
  int lock = 0;
  wait_in_two_threads(&lock);
  const auto off = (*profiler)->waits(WaitView::kMutex);
  REQUIRE_FALSE(off);
  CHECK(off.error().code() == ErrorCode::kUnsupported);
  CHECK(off.error().message().find("/debug/pprof/rates") != std::string::npos);
  REQUIRE((*profiler)->set_rate(1ns));
  wait_in_two_threads(&lock);
  CHECK(sums_of(**profiler, WaitView::kMutex).count == 2);
  // What was counted stays.
  REQUIRE((*profiler)->set_rate(0ns));
  CHECK(sums_of(**profiler, WaitView::kMutex).count == 2);
}

TEST_CASE("more samples than slots are lost and counted, with their time") {
  Parts parts;
  // Slow steps: the collector looks once a second while waits are off.
  auto profiler = parts.create({.rate = 0ns});
  REQUIRE(profiler);
  contention::WaitTables& tables = *contention::tables.load();
  std::vector<std::size_t> taken;
  for (std::size_t slot = 0; (slot = tables.free_slots.take_lowest()) != contention::kWaitSlots;) {
    taken.push_back(slot);
  }
  CHECK(taken.size() == contention::kWaitSlots);
  REQUIRE((*profiler)->set_rate(1ns));
  const ContentionCounters before = (*profiler)->counters();
  { const contention::WaitScope wait({WaitKind::kJoin, 0x5000, 0}, nullptr); }
  const ContentionCounters after = (*profiler)->counters();
  CHECK(after.samples_lost == before.samples_lost + 1);
  CHECK(after.lost_delay > before.lost_delay);
  for (const std::size_t slot : taken) tables.free_slots.set(slot);
  { const contention::WaitScope wait({WaitKind::kJoin, 0x5000, 0}, nullptr); }
  CHECK((*profiler)->counters().samples_lost == after.samples_lost);
  CHECK(sums_of(**profiler, WaitView::kBlock).count == 1);
}

TEST_CASE("too many samples a second make the rate in effect coarser, then fine again") {
  Parts parts;
  auto profiler = parts.create({.rate = 1ns, .samples_per_second_max = 10});
  REQUIRE(profiler);
  for (int i = 0; i < 200; ++i) {
    const contention::WaitScope wait({WaitKind::kSemaphore, 0x5000, 0}, nullptr);
  }
  // A step of a second allows ten.
  const MonotonicTime now = parts.clock.now();
  (*profiler)->step(now + 1s);
  CHECK(contention::rate_in_effect() >= 19);
  CHECK((*profiler)->rate() == 1ns);
  for (int i = 2; i < 40; ++i) (*profiler)->step(now + i * 1s);
  CHECK(contention::rate_in_effect() == 1);
}

TEST_CASE("bits are taken lowest first, and all of them") {
  contention::AtomicBits<128> bits;
  CHECK(bits.take_lowest() == decltype(bits)::kNone);
  bits.set_all();
  for (std::size_t i = 0; i < 128; ++i) REQUIRE(bits.take_lowest() == i);
  CHECK(bits.take_lowest() == decltype(bits)::kNone);
  bits.set(77);
  bits.set(5);
  CHECK(bits.take_lowest() == 5);
  CHECK(bits.take_word(0) == 0);
  CHECK(bits.take_word(1) == std::uint64_t{1} << 13);
}

}  // namespace
}  // namespace vigil::sampler
