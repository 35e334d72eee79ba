// The leak check around every test of GoogleTest.
//
//   #include "leakwatch/listeners/googletest.h"
//   const bool leaks_fail_tests = vigil::leakwatch::check_googletest_for_leaks();  // at file scope,
//                                                                                  // or in main()
//
// From then on, a test that leaves a task, thread, descriptor, socket, timer or child process behind
// fails, with the stacks. What SetUpTestSuite() makes is no test's; what a fixture's SetUp() makes
// must be gone after its TearDown() and destructor. Options, ignore rules and registries:
//
//   check_googletest_for_leaks({.registries = {&tasks}});
//
// Inside a test: LeakCheck::current()->ignore_current().
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "base/clock.h"
#include "leakwatch/leakcheck/leak_check.h"

namespace vigil::leakwatch {

class GoogleTestLeakListener : public testing::EmptyTestEventListener {
 public:
  explicit GoogleTestLeakListener(LeakCheckOptions options) : options_(std::move(options)) {}

  void OnTestStart(const testing::TestInfo&) override { check_.emplace(options_, clock_); }

  // Listeners are told of a test's end in the reverse order, so the printer that came first prints
  // this failure with the test.
  void OnTestEnd(const testing::TestInfo&) override {
    const LeakReport report = check_->finish();
    check_.reset();
    if (!report.clean()) ADD_FAILURE() << format_leaks(report);
  }

 private:
  const LeakCheckOptions options_;
  SystemClock clock_;
  std::optional<LeakCheck> check_;
};

// Switches it on; true, so that it can initialize a constant. Before RUN_ALL_TESTS(), once.
inline bool check_googletest_for_leaks(LeakCheckOptions options = {}) {
  testing::UnitTest::GetInstance()->listeners().Append(
      new GoogleTestLeakListener(std::move(options)));
  return true;
}

}  // namespace vigil::leakwatch
