// High watermarks: says once, with a dump, when tasks, threads or descriptors get more than they
// should ever be.
//
//          value
//   limit ──────────╱╲───────╱╲──── crossed: one report, with what there is at that moment
//   90 %  ─────────╱──╲─────╱──────
//                 ╱    ╲___╱        below 90 % of it: over, and the next crossing is a new report
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "leakwatch/stack_source.h"
#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

// Zero: no limit.
struct HighWatermarks {
  std::uint64_t tasks = 0;
  std::uint64_t threads = 0;
  std::uint64_t descriptors = 0;

  bool any() const { return tasks != 0 || threads != 0 || descriptors != 0; }
};

enum class WatermarkKind : std::uint8_t { kTasks, kThreads, kDescriptors };
// "tasks", "threads", "descriptors".
std::string_view watermark_name(WatermarkKind kind);

struct WatermarkReport {
  std::uint64_t number = 0;  // 1, 2, 3 …
  WatermarkKind kind = WatermarkKind::kTasks;
  std::uint64_t limit = 0;
  std::uint64_t value = 0;  // when seen
  std::uint64_t peak = 0;   // since then
  WallTime crossed_at{};
  bool over = false;  // it has fallen back
  // What there was: the commonest first, each with its count. Tasks by label, threads by stack (of
  // the tasks, where these are too many), descriptors by what they are open on.
  std::string dump;
};

// When a value crosses its limit, and when it has fallen back. Pure but for its state.
class WatermarkTrack {
 public:
  static constexpr std::uint64_t kRearmPercent = 90;

  explicit WatermarkTrack(std::uint64_t limit) : limit_(limit) {}

  enum class Change : std::uint8_t { kNone, kCrossed, kOver };
  // At the limit is not past it.
  Change update(std::uint64_t value);
  bool is_above() const { return above_; }
  std::uint64_t limit() const { return limit_; }

 private:
  const std::uint64_t limit_;
  bool above_ = false;
};

// Not thread-safe. `stacks` must outlive it.
class HighWatermarkWatch {
 public:
  HighWatermarkWatch(HighWatermarks limits, StackSource& stacks);

  struct Counts {
    std::uint64_t tasks = 0;
    std::uint64_t threads = 0;
    std::uint64_t descriptors = 0;
  };
  // Of this process, and of `live`. Two system calls.
  static Counts count(std::span<const TaskInfo> live);

  // What has been crossed since the last look. Reports lack number and time, which the caller gives
  // them. Stacks are taken until `deadline`.
  std::vector<WatermarkReport> step(const Counts& counts, std::span<const TaskInfo> live,
                                    MonotonicTime deadline);

  // Whether `kind` is past its limit now.
  bool is_above(WatermarkKind kind) const;
  static std::uint64_t value_of(const Counts& counts, WatermarkKind kind);

 private:
  std::string dump_of(WatermarkKind kind, std::span<const TaskInfo> live, MonotonicTime deadline);
  std::string dump_tasks(std::span<const TaskInfo> live, MonotonicTime deadline);
  std::string dump_threads(MonotonicTime deadline);

  StackSource& stacks_;
  std::array<WatermarkTrack, 3> tracks_;  // by WatermarkKind
};

// "120 threads, more than 100", for a record or a page's head. Pure.
std::string watermark_text(const WatermarkReport& report);

}  // namespace vigil::leakwatch
