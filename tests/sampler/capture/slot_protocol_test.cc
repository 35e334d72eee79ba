// The slot's state machine alone, with threads in the part of signal handlers: ThreadSanitizer sees
// every step.
#include <atomic>
#include <thread>

#include "sampler/sigsafe/tables.h"
#include "tests/support/catch.h"

namespace vigil::sampler::sigsafe {
namespace {

TEST_CASE("a value carries an index and a generation") {
  for (const std::uint64_t generation : {std::uint64_t{1}, (std::uint64_t{1} << 48) - 1}) {
    for (const std::uint32_t index : {0u, 1u, 0xffffu}) {
      const SignalValue value = unpack_value(pack_value({index, generation}));
      CHECK(value.index == index);
      CHECK(value.generation == generation);
    }
  }
}

TEST_CASE("each transition needs the state and the owner") {
  Slot slot;
  CHECK_FALSE(slot.move(SlotState::kRequested, SlotState::kWriting, 7));
  REQUIRE(slot.claim(SlotState::kRequested, 7));
  CHECK_FALSE(slot.claim(SlotState::kRequested, 8));
  CHECK_FALSE(slot.move(SlotState::kRequested, SlotState::kWriting, 8));
  REQUIRE(slot.move(SlotState::kRequested, SlotState::kWriting, 7));
  CHECK_FALSE(slot.move(SlotState::kRequested, SlotState::kRevoked, 7));
  REQUIRE(slot.move(SlotState::kWriting, SlotState::kDone, 7));
  REQUIRE(slot.move(SlotState::kDone, SlotState::kFree, 7));
  CHECK(slot.claim(SlotState::kWriting, 3));
}

TEST_CASE("a revoked slot is parked until its own late signal") {
  Slot slot;
  REQUIRE(slot.claim(SlotState::kRequested, 7));
  REQUIRE(slot.move(SlotState::kRequested, SlotState::kRevoked, 7));
  CHECK_FALSE(slot.claim(SlotState::kRequested, 8));
  CHECK_FALSE(slot.move(SlotState::kRequested, SlotState::kWriting, 7));
  CHECK_FALSE(slot.move(SlotState::kRevoked, SlotState::kFree, 6));
  REQUIRE(slot.move(SlotState::kRevoked, SlotState::kFree, 7));
  CHECK(slot.claim(SlotState::kRequested, 8));
}

TEST_CASE("collector and handler never own a slot at once") {
  // Or for so long: on a busy machine each yield may take a slice of the processor.
  constexpr std::uint64_t kRoundsMax = 20000;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  Slot slot;
  std::atomic<std::uint64_t> requested{0};  // the generation on its way
  std::atomic<bool> over{false};
  std::thread handler([&] {
    std::uint64_t seen = 0;
    while (!over.load()) {
      const std::uint64_t generation = requested.load();
      if (generation == seen) {
        std::this_thread::yield();
        continue;
      }
      seen = generation;
      if (!slot.move(SlotState::kRequested, SlotState::kWriting, generation)) {
        slot.move(SlotState::kRevoked, SlotState::kFree, generation);
        continue;
      }
      slot.stack_base = generation;
      slot.stack_bytes = generation;
      if (!slot.move(SlotState::kWriting, SlotState::kDone, generation)) {
        slot.move(SlotState::kRevoked, SlotState::kFree, generation);
      }
    }
  });
  std::uint64_t torn = 0;
  std::uint64_t answered = 0;
  std::uint64_t revoked = 0;
  std::uint64_t generation = 0;
  while (generation < kRoundsMax && std::chrono::steady_clock::now() < deadline) {
    ++generation;
    // Until the handler has freed the one that was revoked.
    while (!slot.claim(SlotState::kRequested, generation)) std::this_thread::yield();
    requested.store(generation);
    bool done = false;
    for (std::uint64_t patience = 0; patience < generation % 64 && !done; ++patience) {
      done = slot.word.load(std::memory_order_acquire) == slot_word(SlotState::kDone, generation);
      if (generation % 3 == 0) std::this_thread::yield();
    }
    if (!done && (slot.move(SlotState::kRequested, SlotState::kRevoked, generation) ||
                  slot.move(SlotState::kWriting, SlotState::kRevoked, generation))) {
      ++revoked;
      continue;
    }
    if (slot.stack_base != generation || slot.stack_bytes != generation) ++torn;
    ++answered;
    if (!slot.move(SlotState::kDone, SlotState::kFree, generation)) break;
  }
  over.store(true);
  handler.join();
  CHECK(torn == 0);
  CHECK(answered + revoked == generation);
  CHECK(answered > 0);
  CHECK(revoked > 0);
}

}  // namespace
}  // namespace vigil::sampler::sigsafe
