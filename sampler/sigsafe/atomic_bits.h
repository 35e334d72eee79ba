// A set of small numbers, in words of atomic bits: which slots of a table are free, which are done.
//
//   AtomicBits<512> free_slots;              // empty; set_all() fills it
//   const std::size_t slot = free_slots.take_lowest();
//   if (slot == free_slots.kNone) …          // none left
//
// The lowest first, so that few slots stay warm, and few pages are memory. Thread-safe, signal-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace vigil::sampler::sigsafe {

template <std::size_t kCount>
class AtomicBits {
 public:
  static constexpr std::size_t kNone = kCount;
  static_assert(kCount % 64 == 0);

  constexpr AtomicBits() = default;

  void set_all() noexcept {
    for (auto& word : words_) word.store(~std::uint64_t{0}, std::memory_order_relaxed);
  }
  [[gnu::always_inline]] void set(std::size_t number) noexcept {
    words_[number / 64].fetch_or(std::uint64_t{1} << number % 64, std::memory_order_release);
  }
  // Removes the lowest member; kNone if there is none. Looks at each word a bounded number of
  // times.
  [[gnu::always_inline]] std::size_t take_lowest() noexcept {
    constexpr int kTriesMax = 8;
    for (std::size_t i = 0; i < kWords; ++i) {
      for (int tries = 0; tries < kTriesMax; ++tries) {
        const std::uint64_t found = words_[i].load(std::memory_order_relaxed);
        if (found == 0) break;
        const std::uint64_t lowest = found & (~found + 1);
        if ((words_[i].fetch_and(~lowest, std::memory_order_acq_rel) & lowest) != 0) {
          return i * 64 + static_cast<std::size_t>(__builtin_ctzll(lowest));
        }
      }
    }
    return kNone;
  }
  // Removes all members of one word of 64 and returns them as its bits.
  [[gnu::always_inline]] std::uint64_t take_word(std::size_t word) noexcept {
    if (words_[word].load(std::memory_order_relaxed) == 0) return 0;
    return words_[word].exchange(0, std::memory_order_acq_rel);
  }
  // Removes all members, those of one word at a time, and calls `use(number)` for each, the lowest
  // first.
  template <typename Use>
  void take_all(Use&& use) {
    for (std::size_t word = 0; word < kWords; ++word) {
      for (std::uint64_t left = take_word(word); left != 0; left &= left - 1) {
        use(word * 64 + static_cast<std::size_t>(__builtin_ctzll(left)));
      }
    }
  }
  // The members of one word of 64, as its bits; nothing is removed.
  [[gnu::always_inline]] std::uint64_t word(std::size_t word) const noexcept {
    return words_[word].load(std::memory_order_acquire);
  }
  [[gnu::always_inline]] void remove(std::size_t number) noexcept {
    words_[number / 64].fetch_and(~(std::uint64_t{1} << number % 64), std::memory_order_relaxed);
  }
  static constexpr std::size_t kWords = kCount / 64;

 private:
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
};

}  // namespace vigil::sampler::sigsafe
