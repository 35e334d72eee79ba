// Where leakwatch gets the live stacks of threads from: the sampler in production, a table in
// tests.
#pragma once

#include <sys/types.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "leakwatch/lock_graph.h"
#include "sampler/address.h"
#include "sampler/stack_text.h"
#include "sampler/wait_detail.h"

namespace vigil::leakwatch {

// Frames that all threads with the same stack share: 5,000 handlers behind one mutex keep one copy.
// Immutable, cheap to copy.
class SharedFrames {
 public:
  SharedFrames() = default;
  SharedFrames(std::vector<sampler::TextFrame> frames)  // NOLINT(google-explicit-constructor)
      : frames_(std::make_shared<const std::vector<sampler::TextFrame>>(std::move(frames))) {}
  SharedFrames(std::initializer_list<sampler::TextFrame> frames)
      : SharedFrames(std::vector<sampler::TextFrame>(frames)) {}

  std::span<const sampler::TextFrame> span() const {
    return frames_ ? std::span<const sampler::TextFrame>(*frames_)
                   : std::span<const sampler::TextFrame>();
  }
  operator std::span<const sampler::TextFrame>() const {  // NOLINT(google-explicit-constructor)
    return span();
  }
  auto begin() const { return span().begin(); }
  auto end() const { return span().end(); }
  bool empty() const { return span().empty(); }
  std::size_t size() const { return span().size(); }
  const sampler::TextFrame& operator[](std::size_t i) const { return span()[i]; }

 private:
  std::shared_ptr<const std::vector<sampler::TextFrame>> frames_;
};

// One thread as it was at the moment of the capture, ready to print.
struct LiveStack {
  pid_t thread = 0;
  std::string thread_name;
  std::string state;  // in Go's words: "futex wait", "sleep", "IO wait", "running", …
  // The program's own labels (vigil::with_labels), ascending by key.
  std::vector<std::pair<std::string, std::string>> labels;
  std::string failure;       // a sentence if the thread could not be captured whole; else empty
  SharedFrames frames;       // innermost first; empty if nothing could be walked
  sampler::WaitDetail wait;  // what it waits for, and who holds that
  sampler::Stack raw;        // the same frames as addresses
  // The thread's so far: CPU time used, and time that it was runnable and waited for a processor.
  // Nothing where the kernel does not count them.
  std::optional<Duration> cpu;
  std::optional<Duration> queued;
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

  // Which of `threads` wait for a lock of another thread, or for its end, and whom those threads
  // wait for in turn, and so on. Seen from the futexes alone, without a stack: mutexes and joins,
  // without a time limit. An edge of a thread that moves meanwhile may be missing or past; two calls
  // tell (confirmed_cycles).
  virtual std::vector<WaitEdge> lock_waits(std::span<const pid_t> threads) = 0;
};

// The frames as Go prints them, two lines each, and the failure in brackets. Pure.
std::string format_stack(const LiveStack& stack);

// Where the program's own code is, in one line: the innermost of its functions and its callers, at
// most kPlaceFramesMax. What lies between is passed over: the C and C++ libraries' frames, told by
// their files, and vigil's, by their namespace. Empty if all are such, or none is known. Pure.
//
//   demo::update_inventory (work.cc:134) < demo::lock_route (routes.cc:140)
std::string place_of(const LiveStack& stack);
inline constexpr std::size_t kPlaceFramesMax = 3;

}  // namespace vigil::leakwatch
