// The leak check around every test of Catch2, version 2 or 3.
//
//   #define CATCH_CONFIG_MAIN                          // version 2 only, and there in one file
//   #include "leakwatch/listeners/catch2.h"            // before catch.hpp
//   VIGIL_CHECK_CATCH2_FOR_LEAKS(vigil::leakwatch::default_leak_check_options)
//
// From then on, a test that leaves a task, thread, descriptor, socket, timer or child process behind
// fails, with the stacks; each run through its sections is a test of its own. With options:
//
//   vigil::leakwatch::LeakCheckOptions leak_options() { return {.registries = {&tasks()}}; }
//   VIGIL_CHECK_CATCH2_FOR_LEAKS(leak_options)
//
// Inside a test: LeakCheck::current()->ignore_current().
//
// How it fails the test: by a failed assertion at the end of the outermost section. Listeners are
// told of that before the reporter is, so for the reporter the test is still running. Catch2's pages
// advise against assertions in listeners, because most events come when no test runs; this one does
// not, and the suite proves it for 2.13 and, where it is given, for 3.
#pragma once

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#else
#if !defined(CATCH_CONFIG_EXTERNAL_INTERFACES)
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#endif
#include <catch2/catch.hpp>
#if !defined(CATCH_REGISTER_LISTENER)
#error "leakwatch/listeners/catch2.h comes before catch.hpp"
#endif
#endif

#include <optional>
#include <string>

#include "base/clock.h"
#include "leakwatch/leakcheck/leak_check.h"

namespace vigil::leakwatch {

inline LeakCheckOptions default_leak_check_options() { return {}; }

#if __has_include(<catch2/catch_test_macros.hpp>)
using Catch2ListenerBase = Catch::EventListenerBase;
#else
using Catch2ListenerBase = Catch::TestEventListenerBase;
#endif

// `make_options` is called at the start of each test.
template <LeakCheckOptions (*make_options)()>
class Catch2LeakListener : public Catch2ListenerBase {
 public:
  using Catch2ListenerBase::Catch2ListenerBase;

  void sectionStarting(const Catch::SectionInfo& section) override {
    Catch2ListenerBase::sectionStarting(section);
    if (depth_++ == 0) check_.emplace(make_options(), clock_);
  }

  void sectionEnded(const Catch::SectionStats& section) override {
    if (--depth_ == 0) end_test();
    Catch2ListenerBase::sectionEnded(section);
  }

 private:
  void end_test() {
    const LeakReport report = check_->finish();
    check_.reset();
    if (report.clean()) return;
    const std::string text = format_leaks(report);
#if defined(CATCH_CONFIG_PREFIX_ALL)
    CATCH_FAIL_CHECK(text);
#else
    FAIL_CHECK(text);
#endif
  }

  SystemClock clock_;
  int depth_ = 0;
  std::optional<LeakCheck> check_;
};

}  // namespace vigil::leakwatch

// Registers the listener, at file scope in one file; `make_options`: LeakCheckOptions(). (Catch2 2
// makes an identifier of the listener's name, so that it must be a plain one.)
#define VIGIL_CHECK_CATCH2_FOR_LEAKS(make_options)                                       \
  namespace {                                                                            \
  using vigil_catch2_leak_listener = vigil::leakwatch::Catch2LeakListener<make_options>; \
  CATCH_REGISTER_LISTENER(vigil_catch2_leak_listener)                                    \
  }
