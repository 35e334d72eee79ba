#include "leakwatch/watchdog.h"

#include <pthread.h>

#include <algorithm>
#include <unordered_set>

#include "base/signal_mask.h"
#include "base/text.h"

namespace vigil::leakwatch {
namespace {

bool has_leaked(const TaskInfo& task, MonotonicTime now) {
  return task.has_timeout() && now - task.gives_up_at >= WatchdogOptions::kLeakGrace;
}

bool has_stalled(const TaskInfo& task, MonotonicTime now) {
  return task.streaming() && task.without_progress(now) >= task.stalled_after;
}

bool is_past(const TaskInfo& task, Duration threshold, MonotonicTime now) {
  return task.streaming() ? has_stalled(task, now) : task.age(now) >= threshold;
}

std::string_view message_of(const StuckReport& report) {
  if (report.leaked) return "handler leaked past its timeout";
  return report.stalled ? "stream stalled" : "handler stuck";
}

}  // namespace

std::string_view episode_state_name(EpisodeState state) {
  return state == EpisodeState::kStuck ? "stuck" : "recovered";
}

Result<std::unique_ptr<Watchdog>> Watchdog::create(WatchdogOptions options, TaskRegistry& registry,
                                                   StackSource& stacks, LogSink& sink,
                                                   Clock& clock) {
  if (options.threshold != Duration::zero() && options.threshold < WatchdogOptions::kThresholdMin) {
    return Error(ErrorCode::kInvalidArgument, "the watchdog's threshold is " +
                                                  format_duration(options.threshold) +
                                                  ", below the least that its passes can hold, " +
                                                  format_duration(WatchdogOptions::kThresholdMin));
  }
  if (options.reports_max == 0 || options.deadlocks_max == 0) {
    return Error(ErrorCode::kInvalidArgument, "the watchdog needs room for at least one report");
  }
  return std::unique_ptr<Watchdog>(new Watchdog(options, registry, stacks, sink, clock));
}

Watchdog::Watchdog(WatchdogOptions options, TaskRegistry& registry, StackSource& stacks,
                   LogSink& sink, Clock& clock)
    : options_(options),
      registry_(registry),
      stacks_(stacks),
      log_(sink, "leakwatch"),
      clock_(clock),
      deadlock_watch_(stacks) {}

Watchdog::~Watchdog() { stop(); }

Duration Watchdog::interval() const {
  return std::clamp<Duration>(options_.threshold / 8, std::chrono::milliseconds(5),
                              std::chrono::seconds(1));
}

void Watchdog::start() {
  std::lock_guard lock(thread_mutex_);
  if (options_.threshold == Duration::zero() || thread_.joinable()) return;
  {
    std::lock_guard state_lock(mutex_);
    stopping_ = false;
  }
  const SignalMaskGuard guard = SignalMaskGuard::program_signals();
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "vigil-watchdog");
}

void Watchdog::stop() {
  std::lock_guard lock(thread_mutex_);
  if (!thread_.joinable()) return;
  {
    std::lock_guard state_lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    step(clock_.now());
    lock.lock();
    const MonotonicTime next = clock_.now() + interval();
    while (!stopping_ && clock_.now() < next) clock_.wait_until(lock, wake_, next);
  }
}

void Watchdog::step(MonotonicTime now) {
  std::lock_guard step_lock(step_mutex_);
  const std::vector<TaskInfo> live = registry_.snapshot();
  close_over(live, now);
  look_for_deadlocks(live);
  const std::vector<TaskInfo> stuck = newly_flagged(live, now);
  if (!stuck.empty()) {
    std::vector<pid_t> threads;
    for (const TaskInfo& task : stuck) threads.push_back(task.thread);
    // Our own lock is not held: a capture takes as long as its deadline, and reports() must answer
    // meanwhile.
    std::vector<LiveStack> stacks =
        stacks_.capture(threads, clock_.now() + options_.capture_budget);
    for (std::size_t i = 0; i < stuck.size(); ++i) flag(stuck[i], std::move(stacks[i]), now);
  }
  std::lock_guard lock(mutex_);
  ++counters_.passes;
}

void Watchdog::look_for_deadlocks(const std::vector<TaskInfo>& live) {
  auto found = deadlock_watch_.step(live, clock_.now() + options_.capture_budget);
  record_deadlocks(found);
  for (const DeadlockReport& report : found) {
    const std::string text = format_deadlock(report);
    log_.error("deadlock",
               {{"deadlock", report.number}, {"threads", report.parties.size()}, {"text", text}});
  }
}

// Gives them number and time, and says of the kept ones whether they are over.
void Watchdog::record_deadlocks(std::vector<DeadlockReport>& found) {
  std::lock_guard lock(mutex_);
  for (DeadlockReport& report : found) {
    report.number = ++counters_.deadlocks;
    report.seen_at = clock_.wall_now();
    if (deadlocks_.size() >= options_.deadlocks_max) deadlocks_.pop_front();
    deadlocks_.push_back(report);
  }
  for (DeadlockReport& report : deadlocks_) {
    report.over = report.over || !deadlock_watch_.is_present(report);
  }
}

// `alive`: the episode's task as it is now, null if it has ended. One that has leaked stays so until
// its end.
bool Watchdog::is_over(const Episode& episode, const TaskInfo* alive) {
  if (alive == nullptr) return true;
  return alive->streaming() && !episode.leaked && alive->progressed_at != episode.progressed_at;
}

void Watchdog::close_over(const std::vector<TaskInfo>& live, MonotonicTime now) {
  std::vector<StuckReport> recovered;
  {
    std::lock_guard lock(mutex_);
    if (stuck_.empty()) return;
    recovered = close_over_locked(live, now);
  }
  for (const StuckReport& report : recovered) log_recovery(report);
}

// Forgets the episodes that are over, and returns their reports, those that are still kept.
std::vector<StuckReport> Watchdog::close_over_locked(const std::vector<TaskInfo>& live,
                                                     MonotonicTime now) {
  std::unordered_map<TaskId, const TaskInfo*> alive;
  for (const TaskInfo& task : live) alive.emplace(task.id, &task);
  std::unordered_set<std::uint64_t> over;  // reports' numbers
  counters_.recovered += std::erase_if(stuck_, [&](const auto& entry) {
    const auto found = alive.find(entry.first);
    if (!is_over(entry.second, found == alive.end() ? nullptr : found->second)) return false;
    over.insert(entry.second.report);
    return true;
  });
  std::vector<StuckReport> recovered;
  for (StuckReport& report : reports_) {
    if (!over.contains(report.number)) continue;
    report.state = EpisodeState::kRecovered;
    report.total_age = report.task.age(now);
    recovered.push_back(report);
  }
  return recovered;
}

void Watchdog::log_recovery(const StuckReport& report) {
  const bool goes_on = report.stalled && registry_.is_live(report.task.id);
  log_.info(goes_on ? "stream moves again" : "handler recovered",
            {{"report", report.number},
             {"task", static_cast<std::uint64_t>(report.task.id)},
             {"label", report.task.label},
             {"age_ms", whole_milliseconds(report.total_age)}});
}

std::vector<TaskInfo> Watchdog::newly_flagged(const std::vector<TaskInfo>& live,
                                              MonotonicTime now) const {
  std::vector<TaskInfo> stuck;
  std::lock_guard lock(mutex_);
  for (const TaskInfo& task : live) {
    const bool leaked = has_leaked(task, now);
    if (!leaked && !is_past(task, options_.threshold, now)) continue;
    const auto known = stuck_.find(task.id);
    if (known == stuck_.end() || (leaked && !known->second.leaked)) stuck.push_back(task);
  }
  return stuck;
}

void Watchdog::flag(const TaskInfo& task, LiveStack stack, MonotonicTime now) {
  // It may have ended, or moved, while its stack was taken, and then the stack shows something else.
  const auto still = registry_.find(task.id);
  if (!still || still->progressed_at != task.progressed_at) return;
  StuckReport report;
  report.task = task;
  report.leaked = has_leaked(task, now);
  report.stalled = has_stalled(task, now);
  report.flagged_at = clock_.wall_now();
  report.age_when_flagged = task.age(now);
  report.stack = std::move(stack);
  {
    std::lock_guard lock(mutex_);
    report = record_locked(std::move(report));
  }
  std::vector<LogField> fields = {{"report", report.number},
                                  {"task", static_cast<std::uint64_t>(task.id)},
                                  {"label", task.label},
                                  {"age_ms", whole_milliseconds(task.age(now))}};
  if (task.streaming()) {
    fields.emplace_back("without_progress_ms", whole_milliseconds(task.without_progress(now)));
    fields.emplace_back("threshold_ms", whole_milliseconds(task.stalled_after));
  } else {
    fields.emplace_back("threshold_ms", whole_milliseconds(options_.threshold));
  }
  if (report.leaked) fields.emplace_back("timeout_ms", whole_milliseconds(task.timeout()));
  const std::string text = format_stack(report.stack);
  fields.emplace_back("thread", task.thread);
  fields.emplace_back("thread_name", report.stack.thread_name);
  fields.emplace_back("state", report.stack.state);
  fields.emplace_back("stack", text);
  log_.write(LogLevel::kWarn, message_of(report), fields);
}

// Adds the report, or makes it the present one of an episode that has begun already; returns it
// with its number.
StuckReport Watchdog::record_locked(StuckReport report) {
  if (report.leaked) ++counters_.leaked;
  if (const auto known = stuck_.find(report.task.id); known != stuck_.end()) {
    report.number = known->second.report;
    known->second.leaked = report.leaked;
    for (StuckReport& kept : reports_) {
      if (kept.number == report.number) kept = report;
    }
    return report;
  }
  report.number = ++counters_.flagged;
  if (report.stalled) ++counters_.stalled;
  make_room_locked();
  stuck_.emplace(report.task.id, Episode{report.number, report.leaked, report.task.progressed_at});
  reports_.push_back(report);
  return report;
}

// Drops the oldest recovered report, or the oldest of all. A stuck task without its report stays in
// stuck_, so it is not flagged a second time.
void Watchdog::make_room_locked() {
  if (reports_.size() < options_.reports_max) return;
  auto victim = std::find_if(reports_.begin(), reports_.end(), [](const StuckReport& report) {
    return report.state == EpisodeState::kRecovered;
  });
  if (victim == reports_.end()) victim = reports_.begin();
  reports_.erase(victim);
  ++counters_.reports_dropped;
}

std::vector<StuckReport> Watchdog::reports() const {
  std::lock_guard lock(mutex_);
  return {reports_.rbegin(), reports_.rend()};
}

std::vector<DeadlockReport> Watchdog::deadlocks() const {
  std::lock_guard lock(mutex_);
  return {deadlocks_.rbegin(), deadlocks_.rend()};
}

Watchdog::Counters Watchdog::counters() const {
  std::lock_guard lock(mutex_);
  Counters counters = counters_;
  counters.stuck_now = stuck_.size();
  return counters;
}

}  // namespace vigil::leakwatch
