// What a fuzz target is: one function, given bytes, that crashes if something is wrong.
//
//   extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
//     FuzzInput input(data, size);
//     const std::size_t cut = input.number(16);
//     fuzz_require(parse(input.rest()) == …, "whole and cut agree");
//     return 0;
//   }
//
// libFuzzer's interface (https://llvm.org/docs/LibFuzzer.html); replay_main.cc calls the same
// function with the files of a corpus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace vigil::fuzz {

// Aborts with `what`, in every build type.
inline void fuzz_require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

// Takes the parameters of a run from the input's front, little-endian; what is missing is zero.
class FuzzInput {
 public:
  FuzzInput(const std::uint8_t* data, std::size_t size)
      : left_(reinterpret_cast<const char*>(data), size) {}

  std::uint64_t number(std::size_t bytes) {
    std::uint64_t value = 0;
    const std::size_t taken = bytes < left_.size() ? bytes : left_.size();
    if (taken > 0) std::memcpy(&value, left_.data(), taken);
    left_.remove_prefix(taken);
    return value;
  }
  std::string_view rest() const { return left_; }

 private:
  std::string_view left_;
};

// The sizes of the pieces that an input is cut into: small, and different from seed to seed.
class Cuts {
 public:
  explicit Cuts(std::uint64_t seed) : state_(seed * 2 + 1) {}

  // 1 to `max`.
  std::size_t next(std::size_t max) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return 1 + static_cast<std::size_t>(state_ >> 33) % max;
  }

 private:
  std::uint64_t state_;
};

}  // namespace vigil::fuzz
