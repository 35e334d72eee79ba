#include "sampler/sample_table.h"

#include <algorithm>
#include <utility>

namespace vigil::sampler {
namespace {

// Samples wait in slots for a round or two: a task that has ended may have some to come.
constexpr std::chrono::seconds kSlowKeptFor{1};

}  // namespace

std::uint32_t SampleTable::label_set_of(const ThreadWork& work, std::string_view state) {
  std::vector<Label> labels = work_labels(work, state, options_.labels);
  if (label_sets_.size() >= kLabelSetsMax && !label_sets_.contains(labels)) {
    ++unlabelled_;
    labels.clear();
  }
  return label_sets_.try_emplace(std::move(labels), label_sets_.size()).first->second;
}

SampleTable::Cell SampleTable::cell_of(Stack stack, const ThreadWork& work,
                                       std::string_view state) {
  Cell cell;
  if (!is_on_route(work, options_.routes)) {
    cell.kind = Cell::Kind::kFiltered;
    return cell;
  }
  if (stacks_.size() >= kStacksMax && !stacks_.contains(stack)) return cell;
  cell.kind = Cell::Kind::kCounted;
  cell.stack = stacks_.try_emplace(std::move(stack), stacks_.size()).first->second;
  cell.labels = label_set_of(work, state);
  cell.task = work.task;
  cell.started = work.started;
  return cell;
}

void SampleTable::count(CellKey key, SampleValue value) {
  if (cells_.size() >= kCellsMax && !cells_.contains(key)) {
    dropped_ += value.count;
    return;
  }
  SampleValue& sum = cells_[key];
  sum.count += value.count;
  sum.nanoseconds += value.nanoseconds;
}

void SampleTable::keep_waiting(const Cell& cell, SampleValue value) {
  Cells& cells = waiting_[{cell.started, cell.task}];
  const CellKey key = CellKey{cell.stack} << 32 | cell.labels;
  if (!cells.contains(key)) {
    if (waiting_cells_ >= kWaitingMax) {
      dropped_ += value.count;
      return;
    }
    ++waiting_cells_;
  }
  cells[key].count += value.count;
  cells[key].nanoseconds += value.nanoseconds;
}

void SampleTable::add(const Cell& cell, SampleValue value, MonotonicTime now) {
  if (cell.kind == Cell::Kind::kDropped) {
    dropped_ += value.count;
    return;
  }
  const bool needs_task = options_.min_latency > Duration::zero();
  if (cell.kind == Cell::Kind::kFiltered || (needs_task && cell.task == 0)) {
    filtered_ += value.count;
    return;
  }
  if (needs_task && !slow_.contains({cell.started, cell.task})) {
    keep_waiting(cell, value);
    if (cell.started + options_.min_latency <= now) settle(now);
    return;
  }
  count(CellKey{cell.stack} << 32 | cell.labels, value);
}

void SampleTable::decide(const TaskKey& task, const Cells& cells, MonotonicTime now) {
  const bool is_slow = options_.is_live && options_.is_live(task.second, task.first);
  if (is_slow) slow_[task] = now;
  for (const auto& [key, value] : cells) {
    if (is_slow) {
      count(key, value);
    } else {
      filtered_ += value.count;
    }
  }
}

void SampleTable::forget_ended(MonotonicTime now) {
  if (now - forgot_ < kSlowKeptFor) return;
  forgot_ = now;
  for (auto entry = slow_.begin(); entry != slow_.end();) {
    if (options_.is_live(entry->first.second, entry->first.first)) entry->second = now;
    entry = now - entry->second > kSlowKeptFor ? slow_.erase(entry) : std::next(entry);
  }
}

void SampleTable::settle(MonotonicTime now) {
  while (!waiting_.empty() && waiting_.begin()->first.first + options_.min_latency <= now) {
    auto first = waiting_.extract(waiting_.begin());
    waiting_cells_ -= first.mapped().size();
    decide(first.key(), first.mapped(), now);
  }
  if (!slow_.empty()) forget_ended(now);
}

MonotonicTime SampleTable::next_threshold() const {
  return waiting_.empty() ? kNoDeadline : waiting_.begin()->first.first + options_.min_latency;
}

void SampleTable::finish(MonotonicTime now, StackProfile& profile) {
  settle(now);
  for (const auto& [task, cells] : waiting_) {
    for (const auto& [key, value] : cells) filtered_ += value.count;
  }
  waiting_.clear();
  std::vector<const Stack*> stacks(stacks_.size());
  for (const auto& [stack, number] : stacks_) stacks[number] = &stack;
  std::vector<const std::vector<Label>*> labels(label_sets_.size());
  for (const auto& [set, number] : label_sets_) labels[number] = &set;
  for (const auto& [key, value] : cells_) {
    profile.samples.push_back(
        {*stacks[key >> 32], {value.count, value.nanoseconds}, *labels[key & 0xFFFF'FFFF]});
  }
  profile.counters["samples_filtered"] = filtered_;
  profile.counters["samples_dropped"] = dropped_;
  profile.counters["samples_unlabelled"] = unlabelled_;
}

}  // namespace vigil::sampler
