// Tests that leak and tests that do not, under the GoogleTest listener; listeners_test.cc runs this
// program and reads what it says.

#include <gtest/gtest.h>

#include "leakwatch/listeners/googletest.h"
#include "tests/leakwatch/leakcheck/leaky.h"

namespace {

const bool leaks_fail_tests = vigil::leakwatch::check_googletest_for_leaks(
    {.registries = {&vigil::test::leaky_tasks()}, .pause_max = vigil::test::kLeakyPauseMax});

std::vector<vigil::test::End>& kept() {
  static auto* const ends = new std::vector<vigil::test::End>;
  return *ends;
}

class EachKind : public testing::TestWithParam<vigil::test::LeakKind> {};

std::string name_of(const testing::TestParamInfo<vigil::test::LeakKind>& info) {
  return info.param.name;
}

TEST_P(EachKind, Leaks) { kept().push_back(GetParam().begin()); }
TEST_P(EachKind, Ends) { GetParam().begin()(); }

INSTANTIATE_TEST_SUITE_P(All, EachKind, testing::ValuesIn(vigil::test::leak_kinds()), name_of);

// What a fixture ends in its destructor is no leak; what the suite makes is no test's.
class Fixture : public testing::Test {
 protected:
  static void SetUpTestSuite() { kept().push_back(vigil::test::leaky_begin_thread()); }
  Fixture() : end_(vigil::test::leaky_begin_file()) {}
  ~Fixture() override { end_(); }

 private:
  vigil::test::End end_;
};

TEST_F(Fixture, IsClean) {}

TEST(Ignoring, Current) {
  kept().push_back(vigil::test::leaky_begin_file());
  vigil::leakwatch::LeakCheck::current()->ignore_current();
}

}  // namespace
