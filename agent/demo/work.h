// What the demo's routes do, as plain functions with names that show up in profiles and dumps. Each
// one is kept out of line and has external linkage, so that its name is in the dynamic symbol table
// too, where strip(1) leaves it.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/clock.h"

namespace demo {

// Burn CPU until the calling thread has used `budget` more of it, by the thread's own clock. They
// differ in what they compute; the result depends on all of it, so that no compiler leaves the work
// out.
std::uint64_t checksum(vigil::Duration budget);
std::uint64_t compress(vigil::Duration budget);

// 75 % of `total` in checksum, 25 % in compress, one after the other, starting at a random place of
// that cycle: requests of a fixed length would otherwise keep step with the profiler's timer, and
// it would always see the same phase.
std::uint64_t burn(vigil::Duration total);

// Memory that is kept until it is told to forget.
struct Memory {
  std::mutex mutex;
  std::vector<std::vector<char>> blocks;  // guarded by mutex
  std::size_t bytes = 0;                  // guarded by mutex
};

// Keeps `bytes` more, in blocks of at most 64 KiB, each touched. Returns the bytes kept in all.
// Thread-safe.
std::size_t remember(Memory& memory, std::size_t bytes);

// Frees everything; returns how many bytes that was. Thread-safe.
std::size_t forget(Memory& memory);

// `count` allocations of 16 to 1,024 bytes, each freed again at once.
void churn(std::size_t count);

// One nanosleep(2). false if a signal ended it early: what a profiler must never cause.
[[nodiscard]] bool wait_upstream(vigil::Duration duration);

// Where handlers get stuck until somebody lets them go.
struct Gate {
  std::mutex mutex;
  std::condition_variable released;
  std::size_t waiting = 0;   // guarded by mutex
  std::uint64_t opened = 0;  // guarded by mutex; how often release_all was called
};

// Waits until the next release_all(). There is no deadline on purpose. Thread-safe.
void wait_forever(Gate& gate);

// Lets go of all that wait now; returns how many. Thread-safe.
std::size_t release_all(Gate& gate);

// Holds `inventory` for `duration`, asleep.
void update_inventory(std::mutex& inventory, vigil::Duration duration);

// Locks `first`, pauses 100 ms, locks `second`: two of them in opposite orders deadlock.
void lock_both(std::mutex& first, std::mutex& second);

}  // namespace demo
