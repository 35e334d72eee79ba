// One check: baseline, drive, settle, compare.
#pragma once

#include <functional>
#include <string>

#include "agent/client/progress.h"
#include "agent/leakcheck/client.h"
#include "agent/leakcheck/options.h"
#include "base/clock.h"
#include "base/result.h"
#include "leakwatch/leakcheck/comparison.h"

namespace vigil::leakcheck {

using client::Progress;

// What the server is put through; an error if it could not be.
using Drive = std::function<Result<void>()>;

// The drive of the options: requests, or a command. `words` gets what was done.
Drive drive_of(const Options& options, const HostPort& target, std::string& words,
               Progress& progress);

struct CheckInput {
  Client& debug;
  Drive drive;
  int warm_up = 0;
  Duration settle{};
  leakwatch::ComparisonOptions comparison;
  std::vector<leakwatch::AllowEntry> allow = {};
};

// Returns as soon as it is clean, or after `settle`. An error: could not check.
Result<leakwatch::Comparison> check(CheckInput input, Progress& progress);

}  // namespace vigil::leakcheck
