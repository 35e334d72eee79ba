#include "leakwatch/watchdog.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <span>
#include <unordered_map>
#include <utility>

#include "base/signal_mask.h"
#include "base/text.h"
#include "leakwatch/async_task.h"
#include "sampler/own_wait.h"

namespace vigil::leakwatch {
namespace {

constexpr Duration kIntervalMin = std::chrono::milliseconds(5);
constexpr Duration kIntervalMax = std::chrono::seconds(1);
// Reports whose task a pass looks at again; with more, the passes take turns.
constexpr std::size_t kLooksMax = 32;
// Lock holders whose stacks a pass takes.
constexpr std::size_t kHoldersMax = 16;
// Between two counts of threads and descriptors.
constexpr Duration kCountInterval = std::chrono::seconds(1);

Duration interval_of(const WatchdogOptions& options, const Thresholds& thresholds) {
  if (options.interval != Duration::zero()) return options.interval;
  const Duration least = thresholds.least();
  if (least == Duration::zero()) return kIntervalMax;
  return std::clamp<Duration>(least / 8, kIntervalMin, kIntervalMax);
}

Thresholds thresholds_of(const WatchdogOptions& options) {
  return {options.threshold, options.label_thresholds};
}

// `whose`: "the watchdog's threshold", or a route's.
Result<void> check_threshold(const std::string& whose, Duration threshold, Duration interval) {
  if (threshold == Duration::zero()) return {};
  if (threshold < WatchdogOptions::kThresholdMin) {
    return Error(ErrorCode::kInvalidArgument, whose + " is " + format_duration(threshold) +
                                                  ", below the least that its passes can hold, " +
                                                  format_duration(WatchdogOptions::kThresholdMin));
  }
  if (threshold < interval) {
    return Error(ErrorCode::kInvalidArgument,
                 whose + " is " + format_duration(threshold) +
                     ", below the time between the watchdog's passes, " +
                     format_duration(interval) + ": tasks would be flagged too late");
  }
  return {};
}

Result<void> check_thresholds(const WatchdogOptions& options) {
  const Duration interval = interval_of(options, thresholds_of(options));
  Result<void> checked = check_threshold("the watchdog's threshold", options.threshold, interval);
  for (const auto& [label, threshold] : options.label_thresholds) {
    if (!checked) return checked;
    checked =
        check_threshold("the watchdog's threshold for \"" + label + "\"", threshold, interval);
  }
  return checked;
}

}  // namespace

Result<std::unique_ptr<Watchdog>> Watchdog::create(WatchdogOptions options, TaskRegistry& registry,
                                                   StackSource& stacks, LogSink& sink,
                                                   Clock& clock) {
  if (Result<void> checked = check_thresholds(options); !checked) return std::move(checked).error();
  if (options.reports_max == 0 || options.deadlocks_max == 0) {
    return Error(ErrorCode::kInvalidArgument, "the watchdog needs room for at least one report");
  }
  return std::unique_ptr<Watchdog>(new Watchdog(std::move(options), registry, stacks, sink, clock));
}

Watchdog::Watchdog(WatchdogOptions options, TaskRegistry& registry, StackSource& stacks,
                   LogSink& sink, Clock& clock)
    : options_(std::move(options)),
      registry_(registry),
      stacks_(stacks),
      log_(sink, "leakwatch"),
      clock_(clock),
      deadlock_watch_(stacks),
      record_limit_(options_.records_per_minute_max),
      watermark_watch_(options_.high_watermarks, stacks),
      episodes_(thresholds_of(options_), options_.reports_max) {
  if (options_.callbacks.any()) {
    callbacks_ = std::make_unique<CallbackThread>(options_.callbacks.thread, clock);
  }
}

Watchdog::~Watchdog() { stop(); }

Duration Watchdog::interval() const { return interval_of(options_, thresholds_of(options_)); }

void Watchdog::start() {
  std::lock_guard lock(thread_mutex_);
  if (thread_.joinable()) return;
  if (!flags_tasks() && !options_.high_watermarks.any()) return;
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
  const sampler::OwnWait all_its_life;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    step_or_log();
    lock.lock();
    const MonotonicTime next = clock_.now() + interval();
    while (!stopping_ && clock_.now() < next) clock_.wait_until(lock, wake_, next);
  }
}

// A pass that memory runs out in is not the end of the program: the next one looks again. Said once,
// until one has gone well.
void Watchdog::step_or_log() noexcept {
  try {
    step(clock_.now());
    pass_failed_ = false;
  } catch (const std::exception& error) {
    if (std::exchange(pass_failed_, true)) return;
    log_.error("a pass of the watchdog failed", {{"exception", error.what()}});
  }
}

void Watchdog::step(MonotonicTime now) {
  std::lock_guard step_lock(step_mutex_);
  registry_.snapshot_unsorted(live_);
  if (flags_tasks()) {
    close_over(live_, now);
    look_for_deadlocks(live_);
    look_at_stuck(live_, now);
  }
  look_at_watermarks(live_, now);
  check_callbacks(now);
  std::lock_guard lock(mutex_);
  ++passes_;
  records_suppressed_ = record_limit_.suppressed();
}

template <typename Report>
void Watchdog::tell(const std::function<void(const Report&)>& callback, const Report& report) {
  if (callback) callbacks_->post([callback, report] { callback(report); });
}

void Watchdog::check_callbacks(MonotonicTime now) {
  if (callbacks_ == nullptr || !callbacks_->has_overrun(now)) return;
  log_.error("a callback of the watchdog takes longer than its budget",
             {{"budget_ms", whole_milliseconds(options_.callbacks.thread.budget)}});
}

void Watchdog::look_at_watermarks(const std::vector<TaskInfo>& live, MonotonicTime now) {
  if (!options_.high_watermarks.any()) return;
  if (!counted_at_ || now - *counted_at_ >= kCountInterval) {
    counts_ = HighWatermarkWatch::count(live);
    counted_at_ = now;
  }
  counts_.tasks = live.size();
  auto crossed = watermark_watch_.step(counts_, live, clock_.now() + options_.capture_budget);
  note_watermarks(counts_, crossed);
  for (const WatermarkReport& report : crossed) {
    log_.warn("high watermark", {{"what", watermark_name(report.kind)},
                                 {"value", report.value},
                                 {"limit", report.limit},
                                 {"dump", report.dump}});
    tell(options_.callbacks.on_high_watermark, report);
  }
}

// Gives them number and time, and says of the kept ones how high it went and whether they are over.
void Watchdog::note_watermarks(const HighWatermarkWatch::Counts& counts,
                               std::vector<WatermarkReport>& crossed) {
  std::lock_guard lock(mutex_);
  for (WatermarkReport& report : watermarks_) {
    const bool goes_on = !report.over && watermark_watch_.is_above(report.kind);
    if (goes_on)
      report.peak = std::max(report.peak, watermark_watch_.value_of(counts, report.kind));
    report.over = !goes_on;
  }
  for (WatermarkReport& report : crossed) {
    report.number = ++watermarks_crossed_;
    report.crossed_at = clock_.wall_now();
    if (watermarks_.size() >= WatchdogOptions::kWatermarksKept) watermarks_.pop_front();
    watermarks_.push_back(report);
  }
}

void Watchdog::look_for_deadlocks(const std::vector<TaskInfo>& live) {
  auto found = deadlock_watch_.step(live, clock_.now() + options_.capture_budget);
  record_deadlocks(found);
  for (const DeadlockReport& report : found) {
    const std::string text = format_deadlock(report);
    log_.error("deadlock",
               {{"deadlock", report.number}, {"threads", report.parties.size()}, {"text", text}});
    tell(options_.callbacks.on_deadlock, report);
  }
}

// Gives them number and time, and says of the kept ones whether they are over.
void Watchdog::record_deadlocks(std::vector<DeadlockReport>& found) {
  std::lock_guard lock(mutex_);
  for (DeadlockReport& report : found) {
    report.number = ++deadlocks_found_;
    report.seen_at = clock_.wall_now();
    if (deadlocks_.size() >= options_.deadlocks_max) deadlocks_.pop_front();
    deadlocks_.push_back(report);
  }
  for (DeadlockReport& report : deadlocks_) {
    report.over = report.over || !deadlock_watch_.is_present(report);
  }
}

void Watchdog::close_over(const std::vector<TaskInfo>& live, MonotonicTime now) {
  std::vector<StuckReport> recovered;
  {
    std::lock_guard lock(mutex_);
    recovered = episodes_.close_over(live, now);
  }
  for (const StuckReport& report : recovered) {
    log_recovery(report, now);
    tell(options_.callbacks.on_stuck, report);
  }
}

// What one pass does about stuck tasks.
struct Watchdog::Pass {
  const std::vector<TaskInfo>& live;
  MonotonicTime now;
  std::vector<EpisodeTable::Due> due = {};
  std::vector<TaskInfo> looks = {};
  std::unordered_map<pid_t, LiveStack> stacks = {};
  // Of tasks that wait on no thread, and of those that have moved to another one meanwhile.
  std::unordered_map<TaskId, LiveStack> off_thread = {};
  std::vector<EpisodeTable::Flagged> news = {};  // at most one for each report

  const LiveStack& stack_of(const TaskInfo& task) const {
    const auto own = off_thread.find(task.id);
    return own != off_thread.end() ? own->second : stacks.at(task.thread);
  }
};

void Watchdog::look_at_stuck(const std::vector<TaskInfo>& live, MonotonicTime now) {
  Pass pass{.live = live, .now = now};
  {
    std::lock_guard lock(mutex_);
    if (draining_.load(std::memory_order_relaxed)) episodes_.mark_draining();
    pass.due = episodes_.due(live, now);
    pass.looks = episodes_.to_look_at(kLooksMax);
  }
  if (pass.due.empty() && pass.looks.empty()) return;
  capture(pass);
  flag(pass);
  capture_holders(pass);
  log_news(pass);
}

// Our own lock is not held: a capture takes as long as its deadline, and reports() must answer
// meanwhile.
void Watchdog::capture(Pass& pass) {
  std::vector<TaskInfo> tasks = pass.looks;
  for (const EpisodeTable::Due& due : pass.due) tasks.push_back(due.task);
  std::vector<pid_t> threads;
  for (const TaskInfo& task : tasks) {
    if (!task.waiting()) threads.push_back(task.thread);
  }
  std::sort(threads.begin(), threads.end());
  threads.erase(std::unique(threads.begin(), threads.end()), threads.end());
  std::vector<LiveStack> stacks = stacks_.capture(threads, clock_.now() + options_.capture_budget);
  for (std::size_t i = 0; i < threads.size(); ++i) {
    pass.stacks.emplace(threads[i], std::move(stacks[i]));
  }
  for (const TaskInfo& task : tasks) {
    // A thread's stack is no longer that of a task that has left it.
    const auto still = task.moves > 0 && !task.waiting() ? registry_.find(task.id) : std::nullopt;
    const bool has_moved = still && still->moves != task.moves;
    if (task.waiting() || has_moved) pass.off_thread.emplace(task.id, await_stack(registry_, task));
  }
}

void Watchdog::flag(Pass& pass) {
  // A task may have ended, or moved, while its stack was taken: then the stack shows something else.
  const auto is_same = [this](const TaskInfo& task) {
    const auto still = registry_.find(task.id);
    return still && still->progressed_at == task.progressed_at;
  };
  for (const TaskInfo& task : pass.looks) {
    if (!registry_.is_live(task.id)) continue;
    std::lock_guard lock(mutex_);
    episodes_.look(task.id, pass.stack_of(task), pass.now);
  }
  for (const EpisodeTable::Due& due : pass.due) {
    if (!is_same(due.task)) continue;
    EpisodeTable::Flagged flagged;
    {
      std::lock_guard lock(mutex_);
      flagged = episodes_.flag(due, pass.stack_of(due.task), clock_.wall_now(), pass.now);
    }
    if (!flagged.is_news) continue;
    const auto same = std::find_if(pass.news.begin(), pass.news.end(),
                                   [&](const auto& news) { return news.report == flagged.report; });
    if (same == pass.news.end()) pass.news.push_back(flagged);
  }
}

// The stacks of those who hold what the reports of this pass wait for, and what the reports' tasks
// work on.
void Watchdog::capture_holders(Pass& pass) {
  std::vector<pid_t> owners;
  std::vector<std::uint64_t> numbers;
  std::vector<std::pair<std::uint64_t, TaskId>> described;
  {
    std::lock_guard lock(mutex_);
    for (const EpisodeTable::Flagged& news : pass.news) {
      const StuckReport* report = episodes_.report(news.report);
      if (report == nullptr) continue;
      described.emplace_back(news.report, report->task.id);
      if (report->stack.wait.owner == 0 || owners.size() >= kHoldersMax) continue;
      owners.push_back(report->stack.wait.owner);
      numbers.push_back(news.report);
    }
  }
  std::vector<LiveStack> stacks;
  if (!owners.empty()) stacks = stacks_.capture(owners, clock_.now() + options_.capture_budget);
  std::vector<std::optional<RequestInfo>> requests;
  requests.reserve(described.size());
  for (const auto& [number, task] : described) requests.push_back(registry_.request_of(task));
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < described.size(); ++i) {
    StuckReport* report = episodes_.report(described[i].first);
    if (report == nullptr) continue;
    if (requests[i]) report->request = std::move(requests[i]);
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    StuckReport* report = episodes_.report(numbers[i]);
    if (report == nullptr) continue;
    report->holder = Holder{innermost_task(pass.live, owners[i]), std::move(stacks[i])};
  }
}

void Watchdog::log_news(const Pass& pass) {
  for (const EpisodeTable::Flagged& news : pass.news) {
    std::optional<StuckReport> report;
    {
      std::lock_guard lock(mutex_);
      if (const StuckReport* kept = episodes_.report(news.report)) report = *kept;
    }
    if (!report) continue;
    log_report(*report, news.is_new, pass.now);
    tell(options_.callbacks.on_stuck, *report);
  }
}

std::vector<StuckReport> Watchdog::reports() const {
  std::lock_guard lock(mutex_);
  std::vector<StuckReport> reports;
  const auto& kept = episodes_.reports();
  for (auto report = kept.rbegin(); report != kept.rend(); ++report) {
    reports.push_back(report->second);
  }
  return reports;
}

std::vector<DeadlockReport> Watchdog::deadlocks() const {
  std::lock_guard lock(mutex_);
  return {deadlocks_.rbegin(), deadlocks_.rend()};
}

std::vector<WatermarkReport> Watchdog::watermarks() const {
  std::lock_guard lock(mutex_);
  return {watermarks_.rbegin(), watermarks_.rend()};
}

std::vector<TaskId> Watchdog::stuck_tasks() const {
  std::lock_guard lock(mutex_);
  return episodes_.stuck_tasks();
}

Watchdog::Counters Watchdog::counters() const {
  std::lock_guard lock(mutex_);
  Counters counters{episodes_.counters()};
  counters.deadlocks = deadlocks_found_;
  counters.passes = passes_;
  counters.records_suppressed = records_suppressed_;
  counters.watermarks = watermarks_crossed_;
  if (callbacks_ != nullptr) counters.callbacks = callbacks_->counters();
  return counters;
}

}  // namespace vigil::leakwatch
