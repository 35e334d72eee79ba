// The watchdog's memory: which tasks are stuck, at which level each has been flagged, and the report
// that it belongs to. No clock, no threads, no captures: times and stacks are handed in.
//
//   ended = table.close_over(live, now);           // reports whose last task is over
//   due = table.due(live, now);                    // past their limit, or past the double of it, …
//   table.flag(due[i], stack, …);                  // for each that is still alive
//
// Episode of one task, at its threshold T:
//
//        age < T          T: flagged, level 0      2T: level 1     4T: level 2 …     task ended
//   ───── (unknown) ────────▶ its report, new or ─────▶ … ───────────▶ … ───────────▶ over
//                             that of others with
//                             the same stack
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "leakwatch/stuck_report.h"
#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

// How old a task may get: its own threshold, else its route's, else the general one. Zero: any age.
struct Thresholds {
  Duration general{0};
  std::map<std::string, Duration, std::less<>> by_label = {};

  Duration of(const TaskInfo& task) const;
  // The least that is not zero; zero if there is none.
  Duration least() const;
};

// What a task that was told to stop at its timeout gets to notice.
inline constexpr Duration kLeakGrace = std::chrono::milliseconds(100);

// By how much a task is past what it may.
struct Excess {
  bool leaked = false;   // past its own timeout
  bool stalled = false;  // streams without progress
  Duration limit{};
  unsigned level = 0;  // 0 from limit on, 1 from its double on, 2 from four times on, …
};
std::optional<Excess> excess_of(const TaskInfo& task, const Thresholds& thresholds,
                                MonotonicTime now);

// Not thread-safe.
class EpisodeTable {
 public:
  EpisodeTable(Thresholds thresholds, std::size_t reports_max)
      : thresholds_(std::move(thresholds)), reports_max_(reports_max) {}

  struct Due {
    TaskInfo task;
    Excess excess;
  };

  // Forgets the episodes that are over; the reports that have none left, if they are still kept.
  std::vector<StuckReport> close_over(std::span<const TaskInfo> live, MonotonicTime now);

  // Whom to flag now: each task once at each level, and once when it leaks.
  std::vector<Due> due(std::span<const TaskInfo> live, MonotonicTime now) const;

  // The tasks whose reports want another look, at most `max`, taking turns.
  std::vector<TaskInfo> to_look_at(std::size_t max);

  struct Flagged {
    std::uint64_t report = 0;
    bool is_new = false;    // a new report, with this task as the first
    bool is_news = false;   // or its level has risen, or it has leaked: worth a record
    bool is_shown = false;  // the task is one of the report's members
  };
  Flagged flag(const Due& due, const LiveStack& stack, WallTime wall_now, MonotonicTime now);

  // A later look at a report's task.
  void look(TaskId task, const LiveStack& stack, MonotonicTime now);

  // The server is shutting down: what is stuck now, and what gets stuck from here on, says so.
  void mark_draining();

  // The tasks that are flagged and not over.
  std::vector<TaskId> stuck_tasks() const;

  // The report, if it is still kept.
  StuckReport* report(std::uint64_t number);
  const std::map<std::uint64_t, StuckReport>& reports() const { return reports_; }

  struct Counters {
    std::uint64_t flagged = 0;  // tasks
    std::uint64_t leaked = 0;   // of these, past their own timeout
    std::uint64_t stalled = 0;  // of these, streaming tasks without progress
    std::uint64_t recovered = 0;
    std::uint64_t stuck_now = 0;
    std::uint64_t reported = 0;  // reports, each for one task or more
    std::uint64_t reports_dropped = 0;
  };
  Counters counters() const;

 private:
  struct Episode {
    TaskInfo task;
    std::uint64_t report = 0;
    bool leaked = false;
    unsigned level = 0;
  };
  // Of a report's task, from its first look on.
  struct Watch {
    MonotonicTime first{};
    MonotonicTime changed{};
    std::uint64_t fingerprint = 0;
    Duration cpu{-1};
    Duration queued{-1};
  };
  static bool is_over(const Episode& episode, const TaskInfo* alive);
  void give_new_task(StuckReport& report);
  StuckReport& report_for(const Due& due, const LiveStack& stack, Flagged& flagged,
                          WallTime wall_now, MonotonicTime now);
  void begin_watch(std::uint64_t report, const LiveStack& stack, MonotonicTime now);
  void make_room();

  const Thresholds thresholds_;
  const std::size_t reports_max_;
  std::unordered_map<TaskId, Episode> stuck_;
  std::map<std::uint64_t, StuckReport> reports_;
  std::unordered_map<std::uint64_t, std::uint64_t> open_;  // fingerprint -> report
  std::unordered_map<std::uint64_t, Watch> watches_;       // report -> its task's
  std::uint64_t last_looked_ = 0;
  bool draining_ = false;
  Counters counters_;
};

}  // namespace vigil::leakwatch
