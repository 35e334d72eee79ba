// Live stacks of threads of this process, blocked ones without a signal.
//
//   auto collector = StackCollector::create({}, clock, modules, unwinder, *channel);
//   for (const ThreadStack& thread : (*collector)->capture_all(clock.now() + 2s)) …
//
// The ladder, drawn in sampler/README.md: a blocked thread is read from outside and never notices;
// a running one gets a queued signal; one that cannot be captured is listed with the reason, its
// state and what it waits for. No thread is dropped from the result, and nothing hangs past the
// deadline.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "sampler/address.h"
#include "sampler/module_table.h"
#include "sampler/proc_thread.h"
#include "sampler/signal_channel.h"
#include "sampler/thread_work.h"
#include "sampler/unwinder.h"

namespace vigil::sampler {

// How a stack was taken.
enum class CaptureStep : std::uint8_t {
  kNone,        // it was not: see the failure
  kSignalFree,  // read from outside while the thread was blocked; it did not notice
  kSignal,      // copied by our handler on the thread
  kOwn,         // the calling thread's own
};

// Why a stack is missing or not whole.
enum class CaptureFailure : std::uint8_t {
  kNone,
  kGone,            // the thread ended meanwhile
  kSignalBlocked,   // it has our signal masked
  kNoAnswer,        // the signal was queued, the deadline passed
  kUnreadable,      // its stack pointer leads to no readable memory
  kNotInterrupted,  // blocked in a call that any signal would end with EINTR; the stack is the part
                    // that could be unwound
  kMoving,          // it changed between running and blocked each time we looked
  kNoSlot,          // every capture slot is taken by threads that have not answered
  kProcHidden,      // /proc does not show it
};

struct ThreadStack {
  pid_t tid = 0;
  std::string name;
  char state = '?';    // as in ThreadStat
  ThreadSyscall call;  // as last read; kind kRunning when running or unknown
  // The kernel function that it waits in; read only where it tells more than the stack does: with a
  // failure, and in state D. Empty where the kernel hides it.
  std::string wait_channel;
  CaptureStep step = CaptureStep::kNone;
  CaptureFailure failure = CaptureFailure::kNone;
  std::uintptr_t pc = 0;  // 0 when not known
  std::uintptr_t sp = 0;
  Stack stack;
  ThreadWork work;  // its task and labels at that moment, as far as both are known
  std::size_t bytes_copied = 0;
  Duration held{};  // how long the thread itself was kept: zero unless step is kSignal
  std::optional<ThreadTimes> times;  // as read with the stack, where step is kSignalFree
};

// One sentence for people: "it blocks the signal that captures running threads". Empty for kNone.
std::string_view failure_sentence(CaptureFailure failure);

// What it waits for, in Go's words: "futex wait", "sleep", "running"; see wait_reason.h.
std::string_view wait_reason(const ThreadStack& thread);

struct CollectorOptions {
  std::size_t frames_max =
      kFramesMax;  // frames beyond it are dropped and the stack says kTruncated
  // The most that is copied of a blocked thread's stack; tried only where 8 KiB did not suffice.
  // Running threads: sigsafe::kStackCopyMax.
  std::size_t stack_bytes_max = 256 * 1024;
  // How often a thread that moved while we read it is tried again before the signal is used.
  int attempts_max = 3;
};

// Whether a capture reads anew which modules there are (about 100 us, more with many of them).
enum class ModuleTables : std::uint8_t {
  kRefresh,
  kAsTheyAre,  // for a caller that has just asked: frames in newer modules end their walk
};

// Thread-safe: captures take turns on one mutex.
class StackCollector {
 public:
  // All references must outlive the collector. invalid_argument if an option is out of range
  // (frames_max 1..4096, stack_bytes_max 4 KiB..8 MiB, attempts_max 1..100).
  static Result<std::unique_ptr<StackCollector>> create(CollectorOptions options, Clock& clock,
                                                        Modules& modules, Unwinder& unwinder,
                                                        SignalChannel& channel);
  ~StackCollector();

  // One entry for each of `tids`, in their order; may include the caller. Never blocks much longer
  // than `deadline`: signals are all queued before the first is awaited, so any number of deaf
  // threads costs one wait. Blocked threads are captured even if the deadline has passed already:
  // it bounds waiting, not work. A thread that was running when we looked and enters a sleep within
  // the next microseconds may see EINTR; threads already blocked never do.
  std::vector<ThreadStack> capture(std::span<const pid_t> tids, MonotonicTime deadline,
                                   ModuleTables tables = ModuleTables::kRefresh);

  // Threads of all captures so far whose stack was taken over from an earlier one, because they have
  // not run since (resting_threads.h).
  std::uint64_t resting() const;

  // Every thread of the process, ascending by id; the caller's too.
  std::vector<ThreadStack> capture_all(MonotonicTime deadline);

 private:
  class Impl;
  explicit StackCollector(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vigil::sampler
