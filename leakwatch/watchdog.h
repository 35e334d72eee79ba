// The watchdog: names the tasks that run past a threshold, while they are still stuck.
//
//   Watchdog watchdog({.threshold = 5s}, registry, stacks, sink, clock);
//   watchdog.start();                                  // a thread that calls step() every interval
//   for (const StuckReport& report : watchdog.reports()) …
//
// A task past its threshold is flagged: its stack is taken while it is still stuck, and it joins the
// report of those that hang at the same place, or begins a new one. A new report is logged as
// "handler stuck", with who, how long, where and why; again, as "handler still stuck", at 2, 4, 8 …
// thresholds; and when the last of its tasks has ended, as "handler recovered". Between these the
// report says whether the task moves (Movement). At most records_per_minute_max of these records are
// written; what is suppressed is counted, and the next record says how many.
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
// High watermarks (high_watermarks.h) and the program's own callbacks belong to the same passes.
//
// A task is flagged between its threshold and threshold + interval(), which is less than a quarter
// more; never twice at one level; and not at all if it ends while its stack is taken. What is not
// promised: a task that passed the threshold and ended between two passes is not seen.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "leakwatch/callback_thread.h"
#include "leakwatch/deadlock_watch.h"
#include "leakwatch/episodes.h"
#include "leakwatch/high_watermarks.h"
#include "leakwatch/stack_source.h"
#include "leakwatch/stuck_report.h"
#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

// What the program wants to be told. Called on a thread of their own, one after the other, never
// by a handler's thread nor by the watchdog's: they may block, within thread.budget. One that takes
// longer is counted and logged, and holds up the others; see callback_thread.h. Records of the log
// are limited by the minute, callbacks by thread.queued_max. Empty ones are not called.
struct WatchdogCallbacks {
  // A new report, the same again at each doubling of its age, and at its end: report.state says.
  std::function<void(const StuckReport& report)> on_stuck = {};
  std::function<void(const DeadlockReport& report)> on_deadlock = {};
  std::function<void(const WatermarkReport& report)> on_high_watermark = {};
  CallbackThreadOptions thread = {};

  bool any() const { return on_stuck || on_deadlock || on_high_watermark; }
};

struct WatchdogOptions {
  // How old a task may get. At least kThresholdMin. Zero switches the watchdog off: no thread, no
  // pass, but for what high watermarks need.
  Duration threshold = std::chrono::seconds(5);

  // Of tasks with these labels ("GET /export") instead; zero: they may get as old as they like. A
  // task may also set its own (Task::allow).
  std::map<std::string, Duration, std::less<>> label_thresholds = {};

  // Time between passes. Zero: an eighth of the least threshold, at least 5 ms and at most 1 s. No
  // threshold may be below it.
  Duration interval{0};

  // Reports that are kept, recovered ones first to go. At least 1. What is dropped is counted in
  // `reports_dropped`.
  std::size_t reports_max = 1000;

  // Deadlocks that are kept, the oldest ones first to go. At least 1.
  std::size_t deadlocks_max = 100;

  // Log records about reports that a minute may have, recoveries among them.
  std::size_t records_per_minute_max = 60;

  // More of these at once are reported, once for each crossing, with a dump. Threads and descriptors
  // are counted once a second.
  HighWatermarks high_watermarks = {};

  WatchdogCallbacks callbacks = {};

  // Time that one pass may spend on capturing stacks. Threads that did not answer by then are
  // reported without a stack.
  Duration capture_budget = std::chrono::milliseconds(500);

  // With an interval of 5 ms, a task is flagged at a quarter more at the most.
  static constexpr Duration kThresholdMin = std::chrono::milliseconds(20);

  static constexpr Duration kLeakGrace = leakwatch::kLeakGrace;

  // Reports of high watermarks that are kept.
  static constexpr std::size_t kWatermarksKept = 20;
};

// How many records about one thing may be written in a minute. Not thread-safe. Pure but for its
// state.
class RecordLimit {
 public:
  explicit RecordLimit(std::size_t per_minute_max) : per_minute_max_(per_minute_max) {}

  // Whether a record may be written at `now`; counts it as suppressed if not.
  bool allows(MonotonicTime now);
  // How many have been suppressed since this was asked last.
  std::uint64_t take_suppressed() { return std::exchange(since_last_, 0); }
  std::uint64_t suppressed() const { return suppressed_; }

 private:
  const std::size_t per_minute_max_;
  std::optional<MonotonicTime> minute_;  // when the present one began
  std::size_t written_ = 0;              // in it
  std::uint64_t since_last_ = 0;
  std::uint64_t suppressed_ = 0;
};

// Thread-safe. `registry`, `stacks`, `sink` and `clock` must outlive it.
class Watchdog {
 public:
  // invalid_argument: a threshold below the minimum or below the interval between passes, or no
  // room for reports.
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

  // Newest first, at most kWatermarksKept.
  std::vector<WatermarkReport> watermarks() const;

  // The tasks that are flagged now.
  std::vector<TaskId> stuck_tasks() const;

  struct Counters : EpisodeTable::Counters {
    std::uint64_t deadlocks = 0;
    std::uint64_t passes = 0;
    std::uint64_t records_suppressed = 0;
    std::uint64_t watermarks = 0;  // crossings
    CallbackThread::Counters callbacks;
  };
  Counters counters() const;

  // From now on reports say that the server is shutting down.
  void server_is_draining() { draining_.store(true, std::memory_order_relaxed); }

  Duration threshold() const { return options_.threshold; }
  // Time between passes: the option, or what it says of zero.
  Duration interval() const;

 private:
  Watchdog(WatchdogOptions options, TaskRegistry& registry, StackSource& stacks, LogSink& sink,
           Clock& clock);

  struct Pass;

  void run();
  void step_or_log() noexcept;
  bool flags_tasks() const { return options_.threshold != Duration::zero(); }
  void look_at_watermarks(const std::vector<TaskInfo>& live, MonotonicTime now);
  void note_watermarks(const HighWatermarkWatch::Counts& counts,
                       std::vector<WatermarkReport>& crossed);
  void check_callbacks(MonotonicTime now);
  // Has `callback` called with `report`, if the program gave one.
  template <typename Report>
  void tell(const std::function<void(const Report&)>& callback, const Report& report);
  void look_for_deadlocks(const std::vector<TaskInfo>& live);
  void record_deadlocks(std::vector<DeadlockReport>& found);
  void close_over(const std::vector<TaskInfo>& live, MonotonicTime now);
  void look_at_stuck(const std::vector<TaskInfo>& live, MonotonicTime now);
  void capture(Pass& pass);
  void flag(Pass& pass);
  void capture_holders(Pass& pass);
  void log_news(const Pass& pass);
  void log_report(const StuckReport& report, bool is_new, MonotonicTime now);
  void log_recovery(const StuckReport& report, MonotonicTime now);
  void write_limited(LogLevel level, std::string_view message, std::vector<LogField> fields,
                     MonotonicTime now);

  const WatchdogOptions options_;
  TaskRegistry& registry_;
  StackSource& stacks_;
  Logger log_;
  Clock& clock_;

  std::mutex step_mutex_;         // one pass at a time; taken before mutex_
  DeadlockWatch deadlock_watch_;  // guarded by step_mutex_

  RecordLimit record_limit_;                 // guarded by step_mutex_
  std::vector<TaskInfo> live_;               // guarded by step_mutex_; this pass's, in no order
  HighWatermarkWatch watermark_watch_;       // guarded by step_mutex_
  HighWatermarkWatch::Counts counts_;        // guarded by step_mutex_
  std::optional<MonotonicTime> counted_at_;  // guarded by step_mutex_

  mutable std::mutex mutex_;  // guards what follows
  EpisodeTable episodes_;
  std::deque<DeadlockReport> deadlocks_;
  std::uint64_t deadlocks_found_ = 0;
  std::deque<WatermarkReport> watermarks_;
  std::uint64_t watermarks_crossed_ = 0;
  std::uint64_t passes_ = 0;
  std::uint64_t records_suppressed_ = 0;
  bool stopping_ = false;

  std::atomic<bool> draining_{false};
  std::condition_variable wake_;  // with mutex_: stopping_ has changed
  bool pass_failed_ = false;      // the thread's own
  std::thread thread_;            // start() and stop() only, under thread_mutex_
  std::mutex thread_mutex_;

  std::unique_ptr<CallbackThread> callbacks_;  // null: the program wants to be told nothing
};

}  // namespace vigil::leakwatch
