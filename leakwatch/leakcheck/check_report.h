// The result of vigil-leakcheck as text for people, as JUnit's XML and as JSON for CI. Pure.
#pragma once

#include <string>

#include "base/clock.h"
#include "leakwatch/leakcheck/comparison.h"

namespace vigil::leakwatch {

struct CheckReport {
  std::string target;  // what was checked: "127.0.0.1:6060"
  std::string drive;   // what was done to it, in words
  Duration took{};
  Comparison comparison;
};

// A summary, a paragraph for each leak, then what was allowed, entries without use, and what could
// not be looked at.
std::string report_text(const CheckReport& report);

// One test case a kind: failed with all leaks of the kind, skipped where it could not be looked at.
std::string report_junit(const CheckReport& report);

std::string report_json(const CheckReport& report);

}  // namespace vigil::leakwatch
