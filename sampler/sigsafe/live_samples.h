// The sampled objects that are alive: a fixed, lock-free set of addresses, made for the question that every free() asks.
//
//   if (live.may_hold(pointer)) live.remove(pointer);      // nearly always one byte load, and no
//
// Addresses fall into sets of kLiveWays (one cache line of keys). There are tables of three sizes, and an object goes into the
// smallest one whose set has a place: so few samples take a few pages (spread over one table, some hours of any program's
// samples have touched each of its 3 MiB), and many find them in three lines. Where all three are full it is not tracked,
// which insert() reports. In front is a filter of small counters, so that free() of an object that was not sampled reads one
// byte of 64 KiB. No tombstones: a key is in one of three lines or not there at all.
//
// Orders: the slow operations are sequentially consistent (one in 512 KiB of allocation needs no cleverness); may_hold() is
// relaxed, because whoever passes a pointer to another thread has synchronized with it already.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace vigil::sampler::sigsafe {

// Sets of each table: 2,048, 16,384 and 131,072 objects, of 1, 8 and 64 GiB of heap at one sample in 512 KiB.
inline constexpr std::array<std::size_t, 3> kLiveTables = {256, 2 * 1024, 16 * 1024};
inline constexpr std::size_t kLiveSets = kLiveTables[0] + kLiveTables[1] + kLiveTables[2];
inline constexpr std::size_t kLiveWays = 8;
inline constexpr std::size_t kLiveFilterBytes = 64 * 1024;

// A sample's number and the bucket (a stack and a size) that the collector has found for it.
//   `ticket << kBucketBits | bucket`; never 0 while the object is in the set.
inline constexpr unsigned kBucketBits = 24;
inline constexpr std::uint64_t kBucketPending = 0;  // its stack is not unwound yet
inline constexpr std::uint64_t kBucketLost = 1;     // its stack was not captured: no free slot
// So many buckets of lost ones, one for each interval: kBucketLost + shift.
inline constexpr std::uint64_t kLostBuckets = 13;
inline constexpr std::uint64_t kFirstBucket = kBucketLost + kLostBuckets;
inline constexpr std::uint64_t mark_of(std::uint64_t ticket, std::uint64_t bucket) {
  return ticket << kBucketBits | bucket;
}
inline constexpr std::uint64_t mark_ticket(std::uint64_t mark) { return mark >> kBucketBits; }
inline constexpr std::uint64_t mark_bucket(std::uint64_t mark) {
  return mark & ((std::uint64_t{1} << kBucketBits) - 1);
}

struct LiveObject {
  std::uint64_t bytes = 0;
  std::uint64_t mark = 0;
};

// Constant-initialized: lives in .bss, and takes memory only where it was written. Thread-safe, signal-safe.
class LiveSamples {
 public:
  constexpr LiveSamples() = default;

  // False for most objects that are not in the set, true for all that are.
  [[gnu::always_inline]] bool may_hold(const void* object) const noexcept {
    return filter_[hash(object) >> 48].load(std::memory_order_relaxed) != 0;
  }

  // Adds an object that the program does not have yet. False: no place. `mark` must not be 0.
  bool insert(const void* object, std::uint64_t bytes, std::uint64_t mark) noexcept {
    const std::uint64_t hashed = hash(object);
    for (std::size_t i = 0; i < kPlaces; ++i) {
      const Entry entry = entry_at(hashed, i);
      std::uintptr_t free = 0;
      if (!entry.key->compare_exchange_strong(free, kWriting)) continue;
      entry.value->bytes.store(bytes);
      entry.value->mark.store(mark);
      entry.key->store(reinterpret_cast<std::uintptr_t>(object));
      count_up(filter_[hashed >> 48]);
      return true;
    }
    return false;
  }

  // Takes an object out; false if it is not there. Before the allocator's own free: afterwards the address may be another
  // object's.
  bool remove(const void* object) noexcept {
    // free(nullptr) is common, and an empty place's key is 0, too.
    if (object == nullptr) return false;
    const std::uint64_t hashed = hash(object);
    for (std::size_t i = 0; i < kPlaces; ++i) {
      const Entry entry = entry_at(hashed, i);
      if (entry.key->load() != reinterpret_cast<std::uintptr_t>(object)) continue;
      entry.value->mark.store(0);
      entry.key->store(0);
      count_down(filter_[hashed >> 48]);
      return true;
    }
    return false;
  }

  // Replaces the pending bucket of that sample; nothing if the object is gone.
  void set_bucket(const void* object, std::uint64_t ticket, std::uint64_t bucket) noexcept {
    const std::uint64_t hashed = hash(object);
    for (std::size_t i = 0; i < kPlaces; ++i) {
      // The ticket is in the word that is exchanged, so an object that came to the same address since is left alone. Read
      // first: an exchange that fails has made the page one of ours, too.
      std::atomic<std::uint64_t>& mark = entry_at(hashed, i).value->mark;
      std::uint64_t expected = mark_of(ticket, kBucketPending);
      if (mark.load() == expected &&
          mark.compare_exchange_strong(expected, mark_of(ticket, bucket))) {
        return;
      }
    }
  }

  // Gives every object that has a bucket the first one of the lost: whoever knew what the numbers meant is gone.
  void forget_buckets() noexcept {
    for (auto& set : values_) {
      for (Value& value : set) {
        std::uint64_t mark = value.mark.load();
        while (mark_bucket(mark) >= kFirstBucket &&
               !value.mark.compare_exchange_weak(mark, mark_of(mark_ticket(mark), kBucketLost))) {
        }
      }
    }
  }

  // Calls `use(LiveObject)` for what is in the set now.
  template <typename Use>
  void for_each(Use use) const {
    for (std::size_t set = 0; set < kLiveSets; ++set) {
      for (std::size_t way = 0; way < kLiveWays; ++way) {
        const Value& value = values_[set][way];
        if (keys_[set][way].load(std::memory_order_relaxed) <= kWriting) continue;
        LiveObject object;
        object.mark = value.mark.load();
        object.bytes = value.bytes.load();
        // Removal zeroes the mark first and a new object brings a new ticket: an unchanged mark is one object's.
        const std::uint64_t after = value.mark.load();
        if (object.mark != 0 && mark_ticket(after) == mark_ticket(object.mark)) use(object);
      }
    }
  }

 private:
  static constexpr std::uintptr_t kWriting = 1;
  static constexpr std::uint8_t kStuck =
      255;  // a counter that came so far stays: it is right to say "maybe"

  struct Value {
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<std::uint64_t> mark{0};
  };
  struct Entry {
    std::atomic<std::uintptr_t>* key;
    Value* value;
  };

  // Fibonacci hashing: the high bits of a product by 2^64 / golden ratio. That objects are aligned to 16 makes its lowest
  // bits zero, which nobody looks at.
  [[gnu::always_inline]] static std::uint64_t hash(const void* object) noexcept {
    return reinterpret_cast<std::uintptr_t>(object) * 0x9E3779B97F4A7C15u;
  }

  static constexpr std::size_t kPlaces = kLiveTables.size() * kLiveWays;

  // The i-th of the kPlaces of a hash: those of the smallest table first.
  Entry entry_at(std::uint64_t hashed, std::size_t i) noexcept {
    constexpr std::array<std::size_t, 3> kBegin = {0, kLiveTables[0],
                                                   kLiveTables[0] + kLiveTables[1]};
    const std::size_t table = i / kLiveWays;
    const std::size_t set = kBegin[table] + (hashed >> 32) % kLiveTables[table];
    return {&keys_[set][i % kLiveWays], &values_[set][i % kLiveWays]};
  }

  static void count_up(std::atomic<std::uint8_t>& counter) noexcept {
    std::uint8_t seen = counter.load();
    while (seen != kStuck &&
           !counter.compare_exchange_weak(seen, static_cast<std::uint8_t>(seen + 1))) {
    }
  }
  static void count_down(std::atomic<std::uint8_t>& counter) noexcept {
    std::uint8_t seen = counter.load();
    while (seen != kStuck &&
           !counter.compare_exchange_weak(seen, static_cast<std::uint8_t>(seen - 1))) {
    }
  }

  static constexpr std::size_t kLine = 64;
  alignas(kLine) std::array<std::atomic<std::uint8_t>, kLiveFilterBytes> filter_{};
  alignas(kLine) std::array<std::array<std::atomic<std::uintptr_t>, kLiveWays>, kLiveSets> keys_{};
  std::array<std::array<Value, kLiveWays>, kLiveSets> values_{};
};

}  // namespace vigil::sampler::sigsafe
