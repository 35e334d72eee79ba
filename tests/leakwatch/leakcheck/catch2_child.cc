// Tests that leak and tests that do not, under the Catch2 listener; listeners_test.cc runs this
// program and reads what it says. Compiled against version 2 or 3.

#if !__has_include(<catch2/catch_test_macros.hpp>)
#define CATCH_CONFIG_MAIN
#endif
#include "leakwatch/listeners/catch2.h"
#include "tests/leakwatch/leakcheck/leaky.h"

vigil::leakwatch::LeakCheckOptions leak_options() {
  return {.registries = {&vigil::test::leaky_tasks()}, .pause_max = vigil::test::kLeakyPauseMax};
}

VIGIL_CHECK_CATCH2_FOR_LEAKS(leak_options)

namespace {

// Kept, so that nothing ends a leak before the program ends.
std::vector<vigil::test::End>& kept() {
  static auto* const ends = new std::vector<vigil::test::End>;
  return *ends;
}

const vigil::test::LeakKind& kind_of(const std::string& name) {
  for (const auto& kind : vigil::test::leak_kinds()) {
    if (kind.name == name) return kind;
  }
  throw std::runtime_error("no such kind: " + name);
}

#define LEAK_AND_TWIN(name)                                               \
  TEST_CASE("leaks a " name) { kept().push_back(kind_of(name).begin()); } \
  TEST_CASE("ends a " name) { kind_of(name).begin()(); }

LEAK_AND_TWIN("thread")
LEAK_AND_TWIN("task")
LEAK_AND_TWIN("file")
LEAK_AND_TWIN("socket")
LEAK_AND_TWIN("timer")
LEAK_AND_TWIN("process")

TEST_CASE("ignores a leak by ignore_current") {
  kept().push_back(kind_of("file").begin());
  vigil::leakwatch::LeakCheck::current()->ignore_current();
}

TEST_CASE("leaks in its second section") {
  SECTION("first") {}
  SECTION("second") { kept().push_back(kind_of("file").begin()); }
  SECTION("third") {}
}

TEST_CASE("leaks and fails") {
  kept().push_back(kind_of("socket").begin());
  REQUIRE(kept().empty());
}

}  // namespace
