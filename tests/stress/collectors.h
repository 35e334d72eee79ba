// All collectors of the sampler on one process, running until told to stop: what the race matrix
// puts its disturbances beside.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "sampler/contention_profiler.h"
#include "sampler/cpu_profiler.h"
#include "sampler/heap_profiler.h"
#include "sampler/signal_channel.h"
#include "sampler/thread_snapshot.h"
#include "sampler/wall_profiler.h"

namespace vigil::test {

// The label that every disturbing thread runs under; its value is the thread's name.
inline constexpr char kWho[] = "who";

// What the collectors have seen. Written by their threads, read when those have ended.
struct Observed {
  // CPU profiles: of the whole run, by the label kWho, and how many short ones besides.
  std::map<std::string, std::int64_t> cpu_ns;
  std::int64_t cpu_lost_ns = 0;
  std::uint64_t cpu_profiles = 0;
  // The wall profile of the whole run, likewise; looks that gave no stack, rounds that came too late.
  std::map<std::string, std::int64_t> wall_ns;
  std::int64_t wall_unanswered = 0;
  std::int64_t wall_rounds_skipped = 0;
  std::int64_t wall_looks = 0;
  // Dumps; how often a thread in `expected` was not listed, or with neither a stack nor a reason; the
  // longest one.
  std::uint64_t dumps = 0;
  std::uint64_t unlisted = 0;
  std::uint64_t without_reason = 0;
  Duration longest_dump{};
  // Heap snapshots, and in the last the bytes in use that hold_memory() allocated.
  std::uint64_t snapshots = 0;
  std::int64_t held_bytes = 0;
  // Contention: views, and how often a total was less than before.
  std::uint64_t views = 0;
  std::uint64_t shrunk = 0;
  sampler::ContentionCounters contention;
  // Errors of any collector, by their text.
  std::set<std::string> errors;
};

// What is known to be in use while it lives: blocks from a function of its own.
class HeldMemory {
 public:
  static constexpr std::size_t kBlocks = 4096;
  static constexpr std::size_t kBlockBytes = 16 * 1024;
  HeldMemory();

 private:
  std::vector<std::unique_ptr<char[]>> blocks_;
};

// Mean bytes between heap samples: HeldMemory is about 900 of them.
inline constexpr std::int64_t kHeapInterval = 64 * 1024;

// One for a whole test. Heap and contention only where the program has what they need.
class Collectors {
 public:
  // Throws std::runtime_error when one cannot be made.
  Collectors();

  bool has_heap() const { return heap_ != nullptr; }
  bool has_contention() const { return contention_ != nullptr; }

  // Starts a thread for each. `expected` gives the threads that every dump must list, asked before
  // and after it: those in both.
  void start(std::function<std::set<pid_t>()> expected);
  // Asks them to end; ended() tells when they have.
  void stop();
  bool ended() const { return running_.load() == 0; }
  // After ended().
  Observed join();

 private:
  void observe(void (Collectors::*work)(std::stop_token));
  void profile_cpu(std::stop_token stop);
  void profile_cpu_in_turns(std::stop_token stop);
  void profile_wall(std::stop_token stop);
  void dump(std::stop_token stop);
  void snapshot_heap(std::stop_token stop);
  void view_contention(std::stop_token stop);
  void failed(const Error& error);
  // Until `time` has passed or `stop` is requested.
  void pause(Duration time, const std::stop_token& stop);

  SystemClock clock_;
  sampler::Modules modules_;
  sampler::Unwinder unwinder_{modules_};
  std::unique_ptr<sampler::SignalChannel> channel_;
  std::unique_ptr<sampler::StackCollector> stacks_;
  std::unique_ptr<sampler::HeapProfiler> heap_;
  std::unique_ptr<sampler::ContentionProfiler> contention_;

  std::function<std::set<pid_t>()> expected_;
  std::atomic<int> running_{0};
  std::vector<std::jthread> threads_;
  std::mutex mutex_;
  Observed observed_;  // guarded by mutex_
};

}  // namespace vigil::test
