// A capture's samples, added up by stack and labels, behind the filters.
//
//   SampleTable table({.routes = {"/search"}, .min_latency = 250ms, .is_live = …});
//   table.add(table.cell_of(stack, work, ""), {1, period_ns}, now);     // for each sample
//   table.settle(clock.now());                                          // each round
//   table.finish(clock.now(), profile);
//
// With `min_latency` the samples of a task are kept apart until it is known to be slow:
//
//     young ── seen alive at age >= min_latency ──▶ slow: its samples count, and all later ones
//       └───── found ended by then, or the capture ends before ──▶ dropped, counted as filtered
//
// So a fast task is never counted; a slow one is missed if it ends between reaching the age and the
// next settle(), which is why next_threshold() says when to call it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "sampler/stack_counter.h"
#include "sampler/stack_profile.h"
#include "sampler/thread_work.h"
#include "sampler/work_labels.h"

namespace vigil::sampler {

struct SampleOptions {
  // Samples of these count, all if empty: a route ("/search"), or a task's whole name ("GET
  // /search").
  std::vector<std::string> routes = {};
  // Samples of tasks that get at least this old. Zero: all samples, those outside a task too.
  Duration min_latency{0};
  // Whether the task of that number, begun then, is alive. Needed with min_latency.
  std::function<bool(std::uint64_t task, MonotonicTime started)> is_live = {};
  LabelChoice labels = {};

  bool has_filter() const { return !routes.empty() || min_latency > Duration::zero(); }
};

struct SampleValue {
  std::int64_t count = 0;
  std::int64_t nanoseconds = 0;
};

// Not thread-safe.
class SampleTable {
 public:
  // Bounds of its memory, some 64 MiB at the worst. What does not fit is counted: samples_dropped
  // (stacks, waiting samples), samples_unlabelled (sets of labels).
  static constexpr std::size_t kStacksMax = 32 * 1024;
  static constexpr std::size_t kLabelSetsMax = 16 * 1024;
  static constexpr std::size_t kCellsMax = 256 * 1024;
  static constexpr std::size_t kWaitingMax = 256 * 1024;

  explicit SampleTable(SampleOptions options) : options_(std::move(options)) {}

  // Where a sample counts: worth keeping if the same thread is met again unchanged.
  struct Cell {
    enum class Kind : std::uint8_t { kCounted, kFiltered, kDropped };
    Kind kind = Kind::kDropped;
    std::uint32_t stack = 0;
    std::uint32_t labels = 0;
    std::uint64_t task = 0;
    MonotonicTime started{};
  };
  // `state`: the label of that name; empty: none.
  Cell cell_of(Stack stack, const ThreadWork& work, std::string_view state);

  void add(const Cell& cell, SampleValue value, MonotonicTime now);

  // Decides about the tasks that have, or would have, reached min_latency.
  void settle(MonotonicTime now);
  // When the next one does; kNoDeadline if none waits.
  MonotonicTime next_threshold() const;

  // Moves the samples to `profile`, two values each, and adds the counters samples_filtered,
  // samples_dropped and samples_unlabelled.
  void finish(MonotonicTime now, StackProfile& profile);

 private:
  using CellKey = std::uint64_t;  // stack << 32 | labels
  using Cells = std::unordered_map<CellKey, SampleValue>;
  // Ordered by age: who reaches the threshold first is first.
  using TaskKey = std::pair<MonotonicTime, std::uint64_t>;

  std::uint32_t label_set_of(const ThreadWork& work, std::string_view state);
  void count(CellKey key, SampleValue value);
  void keep_waiting(const Cell& cell, SampleValue value);
  void decide(const TaskKey& task, const Cells& cells, MonotonicTime now);
  void forget_ended(MonotonicTime now);

  const SampleOptions options_;
  std::unordered_map<Stack, std::uint32_t, StackHash> stacks_;
  std::map<std::vector<Label>, std::uint32_t> label_sets_;
  Cells cells_;
  std::map<TaskKey, Cells> waiting_;
  std::size_t waiting_cells_ = 0;
  std::map<TaskKey, MonotonicTime> slow_;  // when last known to be alive
  MonotonicTime forgot_{};
  std::int64_t filtered_ = 0;
  std::int64_t dropped_ = 0;
  std::int64_t unlabelled_ = 0;
};

}  // namespace vigil::sampler
