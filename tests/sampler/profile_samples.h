// Addresses of functions of the test program, and stack profiles made of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "sampler/module_table.h"
#include "sampler/stack_profile.h"
#include "tests/support/catch.h"

namespace vigil::sampler::profile_test {

// Two functions with names; their code is never run.
__attribute__((noinline)) inline int leaf(int n) {
  asm volatile("" : "+r"(n));
  return n + 1;
}

__attribute__((noinline)) inline int root(int n) {
  asm volatile("" : "+r"(n));
  return leaf(n) + 2;
}

inline FrameAddress in_leaf() {
  return FrameAddress::instruction(reinterpret_cast<std::uintptr_t>(&leaf));
}

// A return address: one behind the address that is looked up.
inline FrameAddress in_root() {
  return FrameAddress::return_address(reinterpret_cast<std::uintptr_t>(&root) + 2);
}

inline std::shared_ptr<const ModuleTable> module_table() {
  Modules modules;
  auto table = modules.refresh();
  REQUIRE(table);
  return *table;
}

inline StackSample sample(std::vector<FrameAddress> frames, std::vector<std::int64_t> values,
                          std::vector<Label> labels = {}, StackEnd end = StackEnd::kComplete) {
  return {Stack{std::move(frames), end}, std::move(values), std::move(labels)};
}

inline Label text_label(std::string key, std::string text) {
  return {std::move(key), std::move(text), 0, {}};
}

// A CPU profile without samples.
inline StackProfile cpu_profile() {
  StackProfile profile;
  profile.name = "profile";
  profile.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
  profile.default_sample_type = "cpu";
  profile.period_type = {"cpu", "nanoseconds"};
  profile.period = 10'000'000;
  profile.start = WallTime(std::chrono::seconds(1'700'000'000));
  profile.duration = std::chrono::seconds(5);
  return profile;
}

}  // namespace vigil::sampler::profile_test
