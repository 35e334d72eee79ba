#include "leakwatch/high_watermarks.h"

#include <dirent.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <unordered_map>

#include <fmt/core.h>

#include "base/process_counts.h"
#include "base/text.h"
#include "leakwatch/stuck_report.h"

namespace vigil::leakwatch {
namespace {

constexpr std::size_t kLinesMax = 20;         // labels, or things that descriptors are open on
constexpr std::size_t kStacksMax = 10;        // groups whose stack is shown
constexpr std::size_t kTaskThreadsMax = 500;  // captured for a dump of tasks

// The commonest first; equal ones in the order of `Key`.
template <typename Key>
std::vector<std::pair<Key, std::uint64_t>> by_count(const std::map<Key, std::uint64_t>& counts) {
  std::vector<std::pair<Key, std::uint64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return sorted;
}

template <typename Key>
std::string lines_of(const std::map<Key, std::uint64_t>& counts) {
  std::string text;
  const auto sorted = by_count(counts);
  for (std::size_t i = 0; i < sorted.size() && i < kLinesMax; ++i) {
    fmt::format_to(std::back_inserter(text), "{:>8}  {}\n", sorted[i].second,
                   valid_utf8(sorted[i].first));
  }
  if (sorted.size() > kLinesMax) {
    fmt::format_to(std::back_inserter(text), "          and {} more\n", sorted.size() - kLinesMax);
  }
  return text;
}

// Threads with the same stack are one group.
std::string groups_of(const std::vector<LiveStack>& stacks) {
  std::map<std::uint64_t, std::uint64_t> counts;
  std::unordered_map<std::uint64_t, const LiveStack*> one_of;
  for (const LiveStack& stack : stacks) {
    const std::uint64_t fingerprint = stack_fingerprint(stack, stack.failure);
    ++counts[fingerprint];
    one_of.emplace(fingerprint, &stack);
  }
  std::string text;
  const auto sorted = by_count(counts);
  for (std::size_t i = 0; i < sorted.size() && i < kStacksMax; ++i) {
    const LiveStack& stack = *one_of.at(sorted[i].first);
    fmt::format_to(std::back_inserter(text), "\n{} threads [{}], one of them {} {}:\n{}",
                   sorted[i].second, stack.state, stack.thread, valid_utf8(stack.thread_name),
                   format_stack(stack));
  }
  if (sorted.size() > kStacksMax) {
    fmt::format_to(std::back_inserter(text), "\nand {} more stacks\n", sorted.size() - kStacksMax);
  }
  return text;
}

// "socket:[4711]" is a socket, "anon_inode:[eventfd]" stays, a file is its path.
std::string kind_of(std::string_view target) {
  const std::size_t bracket = target.find(":[");
  if (bracket == std::string_view::npos || target.starts_with("anon_inode")) {
    return std::string(target);
  }
  return std::string(target.substr(0, bracket));
}

std::string dump_descriptors() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
  if (folder == nullptr) return "(/proc/self/fd cannot be read)\n";
  std::map<std::string, std::uint64_t> counts;
  while (const dirent* entry = ::readdir(folder.get())) {
    char target[PATH_MAX];
    const ssize_t bytes = ::readlinkat(::dirfd(folder.get()), entry->d_name, target, sizeof target);
    if (bytes > 0) ++counts[kind_of({target, static_cast<std::size_t>(bytes)})];
  }
  return lines_of(counts);
}

}  // namespace

std::string_view watermark_name(WatermarkKind kind) {
  switch (kind) {
    case WatermarkKind::kTasks:
      return "tasks";
    case WatermarkKind::kThreads:
      return "threads";
    case WatermarkKind::kDescriptors:
      return "descriptors";
  }
  return "?";
}

std::string watermark_text(const WatermarkReport& report) {
  return fmt::format("{} {}, more than {}", report.value, watermark_name(report.kind),
                     report.limit);
}

WatermarkTrack::Change WatermarkTrack::update(std::uint64_t value) {
  if (limit_ == 0) return Change::kNone;
  if (!above_ && value > limit_) {
    above_ = true;
    return Change::kCrossed;
  }
  if (above_ && value < limit_ * kRearmPercent / 100) {
    above_ = false;
    return Change::kOver;
  }
  return Change::kNone;
}

HighWatermarkWatch::HighWatermarkWatch(HighWatermarks limits, StackSource& stacks)
    : stacks_(stacks),
      tracks_{WatermarkTrack(limits.tasks), WatermarkTrack(limits.threads),
              WatermarkTrack(limits.descriptors)} {}

HighWatermarkWatch::Counts HighWatermarkWatch::count(std::span<const TaskInfo> live) {
  return {live.size(), count_threads(), count_descriptors()};
}

std::uint64_t HighWatermarkWatch::value_of(const Counts& counts, WatermarkKind kind) {
  switch (kind) {
    case WatermarkKind::kTasks:
      return counts.tasks;
    case WatermarkKind::kThreads:
      return counts.threads;
    case WatermarkKind::kDescriptors:
      return counts.descriptors;
  }
  return 0;
}

bool HighWatermarkWatch::is_above(WatermarkKind kind) const {
  return tracks_[static_cast<std::size_t>(kind)].is_above();
}

std::vector<WatermarkReport> HighWatermarkWatch::step(const Counts& counts,
                                                      std::span<const TaskInfo> live,
                                                      MonotonicTime deadline) {
  std::vector<WatermarkReport> crossed;
  for (std::size_t i = 0; i < tracks_.size(); ++i) {
    const auto kind = static_cast<WatermarkKind>(i);
    const std::uint64_t value = value_of(counts, kind);
    if (tracks_[i].update(value) != WatermarkTrack::Change::kCrossed) continue;
    WatermarkReport report;
    report.kind = kind;
    report.limit = tracks_[i].limit();
    report.value = value;
    report.peak = value;
    report.dump = dump_of(kind, live, deadline);
    crossed.push_back(std::move(report));
  }
  return crossed;
}

std::string HighWatermarkWatch::dump_of(WatermarkKind kind, std::span<const TaskInfo> live,
                                        MonotonicTime deadline) {
  switch (kind) {
    case WatermarkKind::kTasks:
      return dump_tasks(live, deadline);
    case WatermarkKind::kThreads:
      return dump_threads(deadline);
    case WatermarkKind::kDescriptors:
      return dump_descriptors();
  }
  return "";
}

std::string HighWatermarkWatch::dump_tasks(std::span<const TaskInfo> live, MonotonicTime deadline) {
  std::map<std::string_view, std::uint64_t> labels;
  std::vector<pid_t> threads;
  for (const TaskInfo& task : live) {
    ++labels[task.label];
    if (task.thread != 0 && threads.size() < kTaskThreadsMax) threads.push_back(task.thread);
  }
  std::sort(threads.begin(), threads.end());
  threads.erase(std::unique(threads.begin(), threads.end()), threads.end());
  return lines_of(labels) + groups_of(stacks_.capture(threads, deadline));
}

std::string HighWatermarkWatch::dump_threads(MonotonicTime deadline) {
  return groups_of(stacks_.capture_all(deadline));
}

}  // namespace vigil::leakwatch
