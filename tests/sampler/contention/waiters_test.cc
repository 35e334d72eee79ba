// Who is charged for whose waiting; times are numbers here.

#include "sampler/contention/waiters.h"

#include <initializer_list>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/catch.h"

namespace vigil::sampler::contention {
namespace {

// `count` locks that fall into one stripe, found by trying.
std::vector<const void*> colliding(std::size_t count) {
  auto table = std::make_unique<WaiterTable>();
  std::uintptr_t address = 64;
  (void)table->enter(reinterpret_cast<const void*>(address), 0);
  std::vector<const void*> found;
  for (; found.size() < count; address += 8) {
    const auto* lock = reinterpret_cast<const void*>(address);
    if (table->may_have_waiters(lock)) found.push_back(lock);
  }
  return found;
}

int some_locks[4];
const void* const kLock = &some_locks[0];

TEST_CASE("a release is charged what all waiters have waited") {
  auto table = std::make_unique<WaiterTable>();
  CHECK_FALSE(table->may_have_waiters(kLock));
  REQUIRE(table->enter(kLock, 100));
  REQUIRE(table->enter(kLock, 150));
  CHECK(table->may_have_waiters(kLock));
  CHECK(table->waiting() == 2);
  const Charge charge = table->charge(kLock, 200);
  CHECK(charge.waiters == 2);
  CHECK(charge.delay_ns == 100 + 50);
}

TEST_CASE("each moment of a wait is charged once, to who held the lock then") {
  auto table = std::make_unique<WaiterTable>();
  REQUIRE(table->enter(kLock, 100));
  CHECK(table->charge(kLock, 200).delay_ns == 100);
  REQUIRE(table->enter(kLock, 250));
  CHECK(table->charge(kLock, 300).delay_ns == 100 + 50);
  CHECK(table->charge(kLock, 300).delay_ns == 0);
  // From the last charge to its end: the hand-over.
  CHECK(table->leave(kLock, 100, 310) == 10);
  CHECK(table->leave(kLock, 250, 340) == 40);
  CHECK(table->waiting() == 0);
  CHECK(table->charge(kLock, 400).waiters == 0);
}

TEST_CASE("clocks read out of order take nothing away") {
  auto table = std::make_unique<WaiterTable>();
  REQUIRE(table->enter(kLock, 100));
  CHECK(table->charge(kLock, 90).delay_ns == 0);
  CHECK(table->charge(kLock, 200).delay_ns == 100);
  REQUIRE(table->enter(kLock, 150));  // read its clock before the charge
  CHECK(table->charge(kLock, 190).waiters == 0);
  CHECK(table->charge(kLock, 300).delay_ns == 200);
  CHECK(table->leave(kLock, 150, 290) == 0);
  CHECK(table->leave(kLock, 100, 320) == 20);
}

TEST_CASE("a lock is not charged for another one's waiters") {
  auto table = std::make_unique<WaiterTable>();
  const auto locks = colliding(2);
  REQUIRE(table->enter(locks[0], 100));
  CHECK(table->charge(locks[1], 200).waiters == 0);
  CHECK(table->charge(locks[0], 200).delay_ns == 100);
}

TEST_CASE("a stripe that is full refuses, and has room again when a lock's waiters are gone") {
  constexpr std::size_t kRoom = WaiterTable::kLocksPerStripe;
  auto table = std::make_unique<WaiterTable>();
  const auto locks = colliding(kRoom + 1);
  for (std::size_t i = 0; i < kRoom; ++i) REQUIRE(table->enter(locks[i], 100));
  CHECK_FALSE(table->enter(locks[kRoom], 100));
  CHECK(table->enter(locks[0], 100));  // another waiter needs no room
  CHECK(table->waiting() == kRoom + 1);
  (void)table->leave(locks[0], 100, 200);
  CHECK_FALSE(table->enter(locks[kRoom], 200));
  (void)table->leave(locks[0], 100, 200);
  CHECK(table->enter(locks[kRoom], 200));
}

TEST_CASE("of a lock with short waits one waiter in so many enters, as that many") {
  constexpr std::int64_t kRate = 1'000'000;
  auto table = std::make_unique<WaiterTable>();
  const auto weight = [&] { return table->weight_of_next(kLock, 0); };
  CHECK(table->weight_of_next(kLock, 1) == 1);
  table->note_wait(kLock, kShortWaitNs, kRate);
  CHECK(weight() == 1);
  // A quarter of the rate, at most: 8 of 30 us, 16 of 15 us, 64 of anything below 3.9 us.
  for (const auto& [wait_ns, expected] : std::initializer_list<std::pair<int, unsigned>>{
           {3'906, 64}, {1, 64}, {30'000, 8}, {60'000, 4}, {kShortWaitNs - 1, 2}}) {
    table->forget_waits();
    table->note_wait(kLock, wait_ns, kRate);
    table->note_wait(kLock, wait_ns, kRate);
    INFO(wait_ns);
    if (expected > 2) CHECK(weight() == expected);
    if (expected == 2) CHECK(weight() == 1);  // one step is not worth a write
    std::uint32_t weights = 0;
    for (std::uint64_t random = 0; random < kShortWeightMax; ++random) {
      weights += table->weight_of_next(kLock, random);
    }
    CHECK(weights == kShortWeightMax);  // in the mean each stands for itself
  }
  table->note_wait(kLock, 1, kRate);
  constexpr std::uint32_t kMany = kShortWeightMax;
  REQUIRE(weight() == kMany);
  REQUIRE(table->enter(kLock, 100, kMany));
  REQUIRE(table->enter(kLock, 100, 1));
  const Charge charge = table->charge(kLock, 110);
  CHECK(charge.waiters == kMany + 1);
  CHECK(charge.delay_ns == 10 * (kMany + 1));
  CHECK(table->leave(kLock, 100, 115, kMany) == 5 * kMany);
  CHECK(table->charge(kLock, 130).delay_ns == 20);
  CHECK(table->leave(kLock, 100, 130, 1) == 0);
  CHECK(table->waiting() == 0);
  // A long wait, a fine rate, or a new profile: all enter.
  table->note_wait(kLock, kShortWaitNs, kRate);
  CHECK(weight() == 1);
  table->note_wait(kLock, 1'000, 1'000);
  CHECK(weight() == 1);
  table->note_wait(kLock, 1, kRate);
  table->forget_waits();
  CHECK(weight() == 1);
}

TEST_CASE("many threads at once leave nothing behind") {
  auto table = std::make_unique<WaiterTable>();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&table] {
      for (std::int64_t i = 1; i <= 5'000; ++i) {
        const void* lock = &some_locks[i % 4];
        const bool entered = table->enter(lock, i);
        (void)table->charge(lock, i + 1);
        if (entered) (void)table->leave(lock, i, i + 2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(table->waiting() == 0);
  for (const int& lock : some_locks) CHECK(table->charge(&lock, 10'000).delay_ns == 0);
}

}  // namespace
}  // namespace vigil::sampler::contention
