// Eight bytes at a time: what a request's head, and each field of a response, is gone through with.
//
//   std::size_t at = find_control(text, 0);      // text.size() if there is none
//
// Both are pure and exact for every byte value. Cost: about an instruction a byte, where a look at
// each byte takes ten; measured by callgrind (docs/performance.md), where such looks were a quarter
// of a kept-alive GET's instructions. Source of the arithmetic: "Hacker's Delight", 6-1.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace vigil::http {

namespace byte_search {

static_assert(std::endian::native == std::endian::little, "the first byte is the lowest");

constexpr std::uint64_t kEach = 0x0101'0101'0101'0101;
constexpr std::uint64_t kHigh = 0x80 * kEach;
constexpr std::size_t kWord = sizeof(std::uint64_t);

inline std::uint64_t load(const char* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, kWord);
  return word;
}

// The high bit of the first byte that is below 0x20 or 0x7F is set, and none before it; those behind
// it may be wrong (a borrow).
constexpr std::uint64_t first_control(std::uint64_t word) {
  const std::uint64_t below_space = (word - 0x20 * kEach) & ~word;
  const std::uint64_t from_del = word ^ (0x7F * kEach);
  const std::uint64_t is_del = (from_del - kEach) & ~from_del;
  return (below_space | is_del) & kHigh;
}

// Every byte from 'A' to 'Z' in lower case, all others as they are.
constexpr std::uint64_t lower(std::uint64_t word) {
  const std::uint64_t seven = word & ~kHigh;
  const std::uint64_t from_a = seven + (0x80 - 'A') * kEach;
  const std::uint64_t beyond_z = seven + (0x7F - 'Z') * kEach;
  const std::uint64_t is_upper = (from_a ^ beyond_z) & ~word & kHigh;
  return word | is_upper >> 2;
}

}  // namespace byte_search

// The position of the first byte at or behind `from` that is a control or DEL (HTAB is one);
// text.size() if there is none. `from` <= text.size().
inline std::size_t find_control(std::string_view text, std::size_t from) {
  using namespace byte_search;
  std::size_t at = from;
  for (; text.size() - at >= kWord; at += kWord) {
    const std::uint64_t found = first_control(load(text.data() + at));
    if (found != 0) return at + static_cast<std::size_t>(std::countr_zero(found)) / 8;
  }
  for (; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x20 || byte == 0x7F) break;
  }
  return at;
}

// Whether two texts of one length are equal without regard to ASCII case.
inline bool same_without_case(const char* a, const char* b, std::size_t size) {
  using namespace byte_search;
  constexpr auto lower_byte = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 0x20) : c;
  };
  if (size < kWord) {
    for (std::size_t i = 0; i < size; ++i) {
      if (lower_byte(a[i]) != lower_byte(b[i])) return false;
    }
    return true;
  }
  for (std::size_t at = 0; at + kWord <= size; at += kWord) {
    if (lower(load(a + at)) != lower(load(b + at))) return false;
  }
  // The last eight; some of them may have been compared already.
  return lower(load(a + size - kWord)) == lower(load(b + size - kWord));
}

}  // namespace vigil::http
