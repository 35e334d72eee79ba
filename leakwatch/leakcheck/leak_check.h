// The leak check of one test: what began since and did not end.
//
//   SystemClock clock;
//   LeakCheck check({.registries = {&tasks}}, clock);
//   … the test …
//   const LeakReport report = check.finish();
//   if (!report.clean()) fail(format_leaks(report));
//
// The listeners (leakwatch/listeners/) do this around every test of Catch2 and GoogleTest.
//
// Whose leak it is. A check opens a scope (leakwatch/scope.h) for its thread. Where
// vigil::creation_stacks is linked, that scope goes to the threads that the test starts, to those
// that these start, and through Task parents to tasks on threads of others; what was created in
// another check's scope is not this one's. So tests may run at once on several threads. What was
// created outside every scope, or where nobody knows (no creation_stacks, or a creation that it does
// not see), is this check's leak only if no other check was open at any time between; otherwise it
// is listed as unattributed and fails nobody.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "leakwatch/leakcheck/ignore_rules.h"
#include "leakwatch/leakcheck/resources.h"
#include "leakwatch/scope.h"
#include "leakwatch/stack_source.h"

namespace vigil::leakwatch {

struct LeakCheckOptions {
  // Whose tasks are looked at. They must outlive the check.
  std::vector<TaskRegistry*> registries = {};
  IgnoreRules ignore = {};
  // How often the process is looked at before a leak is one, at least 1; the pauses between grow from
  // 1 us, doubled each time, to pause_max: 0.43 s in all. Returns as soon as it is clean.
  int tries = 20;
  Duration pause_max = std::chrono::milliseconds(100);
  // Where live stacks come from; null: from a sampler made when the first leak is looked at. Give
  // the program's own if it has one (Agent::stacks()), because there can be only one in a process.
  StackSource* stacks = nullptr;
};

struct Leak {
  Resource resource;
  LiveStack now;                            // of tasks and threads
  std::vector<sampler::TextFrame> created;  // innermost first; empty if nobody knows
  sampler::StackEnd created_end = sampler::StackEnd::kNotWalked;
};

struct LeakReport {
  std::vector<Leak> leaks;
  std::vector<Leak> unattributed;  // began meanwhile, while other checks were open too
  std::vector<std::string> notes;  // what could not be looked at, a sentence each
  int tries = 0;                   // how many were needed

  bool clean() const { return leaks.empty(); }
};

// Used by one thread: the test's.
class LeakCheck {
 public:
  // Takes the baseline, and the calling thread into a new scope. `clock` must outlive it.
  LeakCheck(LeakCheckOptions options, Clock& clock);
  // Leaves the scope if finish() was not called.
  ~LeakCheck();
  LeakCheck(const LeakCheck&) = delete;
  LeakCheck& operator=(const LeakCheck&) = delete;

  // What is there now is no leak from here on: the baseline is taken again.
  void ignore_current();

  // Looks, waits and looks again as the options say; leaves the scope. Once only.
  LeakReport finish();

  ScopeId scope() const { return scope_; }

  // The calling thread's innermost open check, null outside any: how a test reaches the one that a
  // listener made for it.
  static LeakCheck* current();

 private:
  class Stacks;
  struct Found {
    std::vector<Resource> mine;
    std::vector<Resource> unattributed;
  };

  Found look() const;
  bool was_alone() const;
  void add_to_baseline(const ResourceList& before_captures);
  std::vector<Leak> with_stacks(std::vector<Resource> found);
  std::vector<Leak> not_ignored(std::vector<Resource> found);
  void pause(int tries_done) const;
  void leave();

  const LeakCheckOptions options_;
  Clock& clock_;
  LeakCheck* const outer_check_;
  ScopeId outer_;
  ScopeId scope_;
  bool open_ = true;
  bool began_alone_;
  std::uint64_t checks_begun_;  // by all, when this one began
  ResourceList baseline_;
  std::unique_ptr<Stacks> stacks_;
};

// The leaks as text, a paragraph each: what it is, where it was created, where it is now; then what
// is unattributed, and the notes. Pure.
std::string format_leaks(const LeakReport& report);

}  // namespace vigil::leakwatch
