#include "leakwatch/episodes.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace vigil::leakwatch {
namespace {

bool has_leaked(const TaskInfo& task, MonotonicTime now) {
  return task.has_timeout() && now - task.gives_up_at >= kLeakGrace;
}

unsigned level_of(Duration measured, Duration limit) {
  const auto times = static_cast<std::uint64_t>(measured / std::max(limit, Duration(1)));
  return times < 2 ? 0 : static_cast<unsigned>(std::bit_width(times)) - 1;
}

}  // namespace

Duration Thresholds::of(const TaskInfo& task) const {
  if (task.stuck_after != Duration::zero()) return task.stuck_after;
  if (by_label.empty()) return general;
  const auto own = by_label.find(task.label);
  return own == by_label.end() ? general : own->second;
}

Duration Thresholds::least() const {
  Duration least = general;
  for (const auto& [label, threshold] : by_label) {
    if (threshold == Duration::zero()) continue;
    least = least == Duration::zero() ? threshold : std::min(least, threshold);
  }
  return least;
}

std::optional<Excess> excess_of(const TaskInfo& task, const Thresholds& thresholds,
                                MonotonicTime now) {
  Excess excess{.leaked = has_leaked(task, now)};
  const Duration measured = task.streaming() ? task.without_progress(now) : task.age(now);
  excess.limit = task.streaming() ? task.stalled_after : thresholds.of(task);
  const bool past = excess.limit != Duration::zero() && measured >= excess.limit;
  if (!past && !excess.leaked) return std::nullopt;
  excess.stalled = past && task.streaming();
  if (past) {
    excess.level = level_of(measured, excess.limit);
  } else {
    excess.limit = task.timeout();
    excess.level = level_of(task.age(now), excess.limit);
  }
  return excess;
}

// `alive`: the episode's task as it is now, null if it has ended. One that has leaked stays so until
// its end.
bool EpisodeTable::is_over(const Episode& episode, const TaskInfo* alive) {
  if (alive == nullptr) return true;
  return alive->streaming() && !episode.leaked &&
         alive->progressed_at != episode.task.progressed_at;
}

std::vector<StuckReport> EpisodeTable::close_over(std::span<const TaskInfo> live,
                                                  MonotonicTime now) {
  if (stuck_.empty()) return {};
  std::unordered_map<TaskId, const TaskInfo*> alive;
  alive.reserve(live.size());
  for (const TaskInfo& task : live) alive.emplace(task.id, &task);
  std::vector<std::uint64_t> touched;
  counters_.recovered += std::erase_if(stuck_, [&](const auto& entry) {
    const auto found = alive.find(entry.first);
    if (!is_over(entry.second, found == alive.end() ? nullptr : found->second)) return false;
    StuckReport* report = this->report(entry.second.report);
    if (report == nullptr) return true;
    --report->stuck_now;
    // While others are left, the report needs another task; else it ends with this one.
    if (report->task.id == entry.first || report->stuck_now == 0) {
      touched.push_back(report->number);
    }
    return true;
  });
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  std::vector<StuckReport> recovered;
  for (const std::uint64_t number : touched) {
    StuckReport& report = reports_.at(number);
    if (report.stuck_now > 0) {
      give_new_task(report);
      continue;
    }
    report.state = EpisodeState::kRecovered;
    report.total_age = report.task.age(now);
    open_.erase(report.fingerprint);
    watches_.erase(number);
    recovered.push_back(report);
  }
  return recovered;
}

void EpisodeTable::give_new_task(StuckReport& report) {
  const auto other = std::find_if(stuck_.begin(), stuck_.end(), [&](const auto& entry) {
    return entry.second.report == report.number;
  });
  if (other == stuck_.end()) return;
  report.task = other->second.task;
  report.request.reset();
  report.movement = {};
  watches_.erase(report.number);
}

std::vector<EpisodeTable::Due> EpisodeTable::due(std::span<const TaskInfo> live,
                                                 MonotonicTime now) const {
  std::vector<Due> due;
  for (const TaskInfo& task : live) {
    const auto excess = excess_of(task, thresholds_, now);
    if (!excess) continue;
    const auto known = stuck_.find(task.id);
    const bool is_new = known == stuck_.end();
    if (is_new || (excess->leaked && !known->second.leaked) ||
        excess->level > known->second.level) {
      due.push_back({task, *excess});
    }
  }
  std::sort(due.begin(), due.end(),
            [](const Due& a, const Due& b) { return is_older(a.task, b.task); });
  return due;
}

std::vector<TaskInfo> EpisodeTable::to_look_at(std::size_t max) {
  std::vector<TaskInfo> tasks;
  auto at = reports_.upper_bound(last_looked_);
  for (std::size_t seen = 0; seen < reports_.size() && tasks.size() < max; ++seen, ++at) {
    if (at == reports_.end()) at = reports_.begin();
    if (at->second.state != EpisodeState::kStuck) continue;
    tasks.push_back(at->second.task);
    last_looked_ = at->first;
  }
  return tasks;
}

void EpisodeTable::begin_watch(std::uint64_t report, const LiveStack& stack, MonotonicTime now) {
  watches_[report] = {.first = now,
                      .changed = now,
                      .fingerprint = stack_fingerprint(stack, ""),
                      .cpu = stack.cpu.value_or(Duration(-1)),
                      .queued = stack.queued.value_or(Duration(-1))};
}

// The report that the task's episode has already, or that others with its stack have, or a new one.
StuckReport& EpisodeTable::report_for(const Due& due, const LiveStack& stack, Flagged& flagged,
                                      WallTime wall_now, MonotonicTime now) {
  const std::uint64_t fingerprint = stack_fingerprint(stack, due.task.label);
  if (const auto open = open_.find(fingerprint); open != open_.end()) {
    if (StuckReport* kept = report(open->second)) return *kept;
  }
  flagged.is_new = true;
  make_room();
  const std::uint64_t number = ++counters_.reported;
  StuckReport& report = reports_[number];
  report.number = number;
  report.task = due.task;
  report.draining = draining_;
  report.flagged_at = wall_now;
  report.age_when_flagged = due.task.age(now);
  report.limit = due.excess.limit;
  report.level = due.excess.level;
  report.stack = stack;
  report.fingerprint = fingerprint;
  open_[fingerprint] = number;
  begin_watch(number, stack, now);
  return report;
}

EpisodeTable::Flagged EpisodeTable::flag(const Due& due, const LiveStack& stack, WallTime wall_now,
                                         MonotonicTime now) {
  Flagged flagged;
  const auto known = stuck_.find(due.task.id);
  const bool first = known == stuck_.end();
  StuckReport* report =
      first ? &report_for(due, stack, flagged, wall_now, now) : this->report(known->second.report);
  Episode& episode = stuck_[due.task.id];
  if (first) {
    episode = {.task = due.task, .report = report->number};
    ++counters_.flagged;
    if (due.excess.stalled) ++counters_.stalled;
    ++report->tasks;
    ++report->stuck_now;
    flagged.is_shown = report->members.size() < StuckReport::kMembersMax;
    if (flagged.is_shown) report->members.push_back(due.task);
  }
  const bool leaks_now = due.excess.leaked && !episode.leaked;
  if (leaks_now) ++counters_.leaked;
  episode.leaked = due.excess.leaked;
  episode.level = std::max(episode.level, due.excess.level);
  flagged.report = episode.report;
  if (report == nullptr) return flagged;  // dropped for want of room
  flagged.is_news =
      flagged.is_new || due.excess.level > report->level || (leaks_now && !report->leaked);
  report->level = std::max(report->level, due.excess.level);
  report->leaked = report->leaked || due.excess.leaked;
  report->stalled = report->stalled || due.excess.stalled;
  return flagged;
}

void EpisodeTable::look(TaskId task, const LiveStack& stack, MonotonicTime now) {
  const auto episode = stuck_.find(task);
  if (episode == stuck_.end()) return;
  StuckReport* report = this->report(episode->second.report);
  if (report == nullptr || report->task.id != task || stack.frames.empty()) return;
  const auto watched = watches_.find(report->number);
  if (watched == watches_.end()) return begin_watch(report->number, stack, now);
  Watch& watch = watched->second;
  if (now <= watch.first) return;
  Movement& movement = report->movement;
  const std::uint64_t fingerprint = stack_fingerprint(stack, "");
  ++movement.looks;
  if (fingerprint != watch.fingerprint) {
    ++movement.changes;
    watch.fingerprint = fingerprint;
    watch.changed = now;
  }
  movement.watched = now - watch.first;
  movement.same_for = now - watch.changed;
  if (stack.cpu && watch.cpu >= Duration::zero()) movement.cpu = *stack.cpu - watch.cpu;
  if (stack.queued && watch.queued >= Duration::zero()) {
    movement.queued = *stack.queued - watch.queued;
  }
}

void EpisodeTable::mark_draining() {
  if (std::exchange(draining_, true)) return;
  for (auto& [number, report] : reports_) {
    if (report.state == EpisodeState::kStuck) report.draining = true;
  }
}

std::vector<TaskId> EpisodeTable::stuck_tasks() const {
  std::vector<TaskId> tasks;
  tasks.reserve(stuck_.size());
  for (const auto& [task, episode] : stuck_) tasks.push_back(task);
  return tasks;
}

StuckReport* EpisodeTable::report(std::uint64_t number) {
  const auto found = reports_.find(number);
  return found == reports_.end() ? nullptr : &found->second;
}

// Drops the oldest recovered report, or the oldest of all. A stuck task without its report stays in
// stuck_, so it is not flagged a second time.
void EpisodeTable::make_room() {
  if (reports_.size() < reports_max_) return;
  auto victim = std::find_if(reports_.begin(), reports_.end(), [](const auto& entry) {
    return entry.second.state == EpisodeState::kRecovered;
  });
  if (victim == reports_.end()) victim = reports_.begin();
  const auto open = open_.find(victim->second.fingerprint);
  if (open != open_.end() && open->second == victim->first) open_.erase(open);
  watches_.erase(victim->first);
  reports_.erase(victim);
  ++counters_.reports_dropped;
}

EpisodeTable::Counters EpisodeTable::counters() const {
  Counters counters = counters_;
  counters.stuck_now = stuck_.size();
  return counters;
}

}  // namespace vigil::leakwatch
