// Where leakwatch gets the live stacks of threads from: the sampler in production, a table in
// tests.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "sampler/stack_text.h"

namespace vigil::leakwatch {

// One thread as it was at the moment of the capture, ready to print.
struct LiveStack {
  pid_t thread = 0;
  std::string thread_name;
  std::string state;  // in Go's words: "futex wait", "sleep", "IO wait", "running", …
  // The program's own labels (vigil::with_labels), ascending by key.
  std::vector<std::pair<std::string, std::string>> labels;
  std::string failure;  // a sentence if the thread could not be captured whole; else empty
  std::vector<sampler::TextFrame> frames;  // innermost first; empty if nothing could be walked
  sampler::StackEnd end = sampler::StackEnd::kNotWalked;
};

// Thread-safe.
class StackSource {
 public:
  virtual ~StackSource() = default;

  // One entry for each of `threads`, in their order; a thread that is gone or does not answer has a
  // failure. Returns by `deadline`, give or take the time to symbolize.
  virtual std::vector<LiveStack> capture(std::span<const pid_t> threads,
                                         MonotonicTime deadline) = 0;

  // The same for every thread of the process, the calling one included.
  virtual std::vector<LiveStack> capture_all(MonotonicTime deadline) = 0;
};

// The frames as Go prints them, two lines each, and the failure in brackets. Pure.
std::string format_stack(const LiveStack& stack);

}  // namespace vigil::leakwatch
