// The watchdog: names the tasks that run past a threshold, while they are still stuck.
//
//   Watchdog watchdog({.threshold = 5s}, registry, stacks, sink, clock);
//   watchdog.start();                                  // a thread that calls step() every interval
//   for (const StuckReport& report : watchdog.reports()) …
//
// An episode is one task's time past the threshold. It is flagged once: a log record and a report
// with the live stack, then nothing more until the task ends, when the report is marked and a
// second record says so.
//
//        age < threshold            age >= threshold              task ended
//   ────── (not known) ──────▶ kStuck, logged as "handler stuck" ──────▶ kRecovered, logged as
//   "handler recovered"
//
// A task that was given a timeout (TaskStart::gives_up_at) and goes on beyond it is flagged at the
// first pass that finds it kLeakGrace later, however young it is: it has leaked past its timeout.
// If it was flagged for its age before, its report says both from then on, and the log has a record
// for each.
//
// A streaming task (Task::stream) may get as old as it likes. It is flagged, as "stream stalled",
// when it has made no progress for the time that it named itself; that episode also ends, as "stream
// moves again", when it makes progress or waits for its peer, and a later stall is a new one.
//
// A task is flagged between its threshold and threshold + interval(); a task that ends while its
// stack is taken is not flagged at all. What is not promised: a task that passed the threshold and
// ended between two passes is not seen.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "leakwatch/deadlock_watch.h"
#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

struct WatchdogOptions {
  // How old a task may get. At least kThresholdMin. Zero switches the watchdog off: no thread, no
  // pass.
  Duration threshold = std::chrono::seconds(5);

  // Reports that are kept, recovered ones first to go. At least 1. What is dropped is counted in
  // `reports_dropped`.
  std::size_t reports_max = 1000;

  // Deadlocks that are kept, the oldest ones first to go. At least 1.
  std::size_t deadlocks_max = 100;

  // Time that one pass may spend on capturing stacks. Tasks that it did not reach are captured by
  // the next pass.
  Duration capture_budget = std::chrono::milliseconds(500);

  static constexpr Duration kThresholdMin = std::chrono::milliseconds(10);

  // What a task that was told to stop at its timeout gets to notice.
  static constexpr Duration kLeakGrace = std::chrono::milliseconds(100);
};

enum class EpisodeState : std::uint8_t {
  kStuck,      // -> kRecovered when the task has ended
  kRecovered,  // final
};

std::string_view episode_state_name(EpisodeState state);

struct StuckReport {
  std::uint64_t number = 0;  // 1, 2, 3 … in the order of flagging
  TaskInfo task;
  EpisodeState state = EpisodeState::kStuck;
  bool leaked = false;   // it went on beyond its own timeout, TaskInfo::timeout()
  bool stalled = false;  // it streams, and had made no progress for TaskInfo::stalled_after
  WallTime flagged_at{};
  Duration age_when_flagged{};
  // kRecovered: how old the task was when it ended, or a stalled one when it moved again, up to one
  // interval too much; else zero.
  Duration total_age{};
  LiveStack stack;  // when flagged
};

// Thread-safe. `registry`, `stacks`, `sink` and `clock` must outlive it.
class Watchdog {
 public:
  // invalid_argument: a threshold below the minimum, or no room for reports.
  static Result<std::unique_ptr<Watchdog>> create(WatchdogOptions options, TaskRegistry& registry,
                                                  StackSource& stacks, LogSink& sink, Clock& clock);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Starts the thread. Nothing happens if it runs already or the watchdog is off.
  void start();

  // Ends the thread and waits for it: at most one pass.
  void stop();

  // One pass at time `now`: recognizes what has ended, flags what is past the threshold. What the
  // thread calls; tests call it instead of start(). Cost: a registry snapshot, and a capture for
  // each newly flagged task.
  void step(MonotonicTime now);

  // Newest first.
  std::vector<StuckReport> reports() const;

  // Newest first. A deadlock is reported by the first pass after its last thread began to wait,
  // whatever the threshold.
  std::vector<DeadlockReport> deadlocks() const;

  struct Counters {
    std::uint64_t deadlocks = 0;
    std::uint64_t flagged = 0;
    std::uint64_t leaked = 0;   // of these, past their own timeout
    std::uint64_t stalled = 0;  // of these, streaming tasks without progress
    std::uint64_t recovered = 0;
    std::uint64_t stuck_now = 0;
    std::uint64_t reports_dropped = 0;
    std::uint64_t passes = 0;
  };
  Counters counters() const;

  Duration threshold() const { return options_.threshold; }
  // Time between passes: an eighth of the threshold, at least 5 ms and at most 1 s.
  Duration interval() const;

 private:
  Watchdog(WatchdogOptions options, TaskRegistry& registry, StackSource& stacks, LogSink& sink,
           Clock& clock);

  void run();
  void look_for_deadlocks(const std::vector<TaskInfo>& live);
  void record_deadlocks(std::vector<DeadlockReport>& found);
  void close_over(const std::vector<TaskInfo>& live, MonotonicTime now);
  std::vector<StuckReport> close_over_locked(const std::vector<TaskInfo>& live, MonotonicTime now);
  void log_recovery(const StuckReport& report);
  std::vector<TaskInfo> newly_flagged(const std::vector<TaskInfo>& live, MonotonicTime now) const;
  void flag(const TaskInfo& task, LiveStack stack, MonotonicTime now);
  StuckReport record_locked(StuckReport report);
  void make_room_locked();

  const WatchdogOptions options_;
  TaskRegistry& registry_;
  StackSource& stacks_;
  Logger log_;
  Clock& clock_;

  std::mutex step_mutex_;         // one pass at a time; taken before mutex_
  DeadlockWatch deadlock_watch_;  // guarded by step_mutex_

  mutable std::mutex mutex_;  // guards what follows
  std::deque<StuckReport> reports_;
  std::deque<DeadlockReport> deadlocks_;
  struct Episode {
    std::uint64_t report = 0;  // its number
    bool leaked = false;
    MonotonicTime progressed_at{};  // the task's, when it was flagged
  };
  static bool is_over(const Episode& episode, const TaskInfo* alive);
  std::unordered_map<TaskId, Episode> stuck_;
  Counters counters_;
  bool stopping_ = false;

  std::condition_variable wake_;  // with mutex_: stopping_ has changed
  std::thread thread_;            // start() and stop() only, under thread_mutex_
  std::mutex thread_mutex_;
};

}  // namespace vigil::leakwatch
