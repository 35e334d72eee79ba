#include "sampler/wall_profiler.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/thread_id.h"
#include "sampler/proc_thread.h"
#include "sampler/rounds.h"
#include "sampler/thread_work.h"

namespace vigil::sampler {
namespace {

// How long a round waits for running threads.
constexpr std::chrono::milliseconds kAnswerWithin{50};
// A thread that masks our signal is not asked again for so long: each time costs a wait.
constexpr std::chrono::seconds kDeafFor{1};
// As in cpu_profiler.cc.
constexpr std::chrono::milliseconds kModulesAge{100};
constexpr std::chrono::seconds kModulesAgeMax{1};

// One capture, on its caller's thread.
class Capture {
 public:
  Capture(const WallProfileOptions& options, Clock& clock, StackCollector& collector)
      : clock_(clock),
        collector_(collector),
        of_(options.of),
        period_(std::chrono::nanoseconds(1'000'000'000 / options.hz)),
        samples_(options.samples),
        start_(clock.now()),
        wall_start_(clock.wall_now()),
        last_round_(start_),
        next_due_(start_) {}

  // Looks at every thread; when the next round is due.
  MonotonicTime round(MonotonicTime now);
  StackProfile finish();

 private:
  struct Watched {
    std::uint64_t witness = 0;
    std::uint64_t round = 0;  // in which it was last seen
    // Its cell is still right if the witness has not moved: it was blocked.
    bool was_blocked = false;
    MonotonicTime deaf_until{};
    SampleTable::Cell cell;
  };

  std::vector<pid_t> threads() const;
  // Counts the threads that have not moved; gives those that have.
  std::vector<pid_t> count_unmoved(const std::vector<pid_t>& tids, Duration elapsed,
                                   MonotonicTime now);
  void look_at(const std::vector<pid_t>& tids, Duration elapsed, MonotonicTime now);
  void take(Watched& watched, ThreadStack thread, Duration elapsed, MonotonicTime now);
  ModuleTables tables_for(MonotonicTime now);
  void schedule_next(std::size_t threads, MonotonicTime began, std::int64_t cpu_ns);

  Clock& clock_;
  StackCollector& collector_;
  const WallThreads of_;
  const Duration period_;
  SampleTable samples_;
  const MonotonicTime start_;
  const WallTime wall_start_;
  const std::int64_t cpu_ns_start_ = own_cpu_ns();
  const pid_t own_tid_ = current_thread_id();

  std::map<pid_t, Watched> watched_;
  MonotonicTime last_round_;
  MonotonicTime next_due_;
  std::uint64_t rounds_ = 0;
  MonotonicTime modules_read_{};
  bool met_unknown_code_ = false;
  std::int64_t looks_ = 0;
  std::int64_t looks_reused_ = 0;
  std::int64_t unanswered_ = 0;
  std::int64_t truncated_ = 0;
};

std::vector<pid_t> Capture::threads() const {
  std::vector<pid_t> tids;
  if (of_ == WallThreads::kWithTasks) {
    tids = threads_with_tasks();
  } else if (auto all = list_threads()) {
    tids = *std::move(all);
  }
  std::erase(tids, own_tid_);
  return tids;
}

std::vector<pid_t> Capture::count_unmoved(const std::vector<pid_t>& tids, Duration elapsed,
                                          MonotonicTime now) {
  std::vector<pid_t> moved;
  for (const pid_t tid : tids) {
    const Result<std::uint64_t> witness = read_run_witness(tid);
    if (!witness) continue;  // gone
    const auto [entry, is_new] = watched_.try_emplace(tid);
    Watched& watched = entry->second;
    const bool reusable = !is_new && watched.round + 1 == rounds_ && watched.was_blocked &&
                          watched.witness == *witness;
    watched.witness = *witness;
    watched.round = rounds_;
    ++looks_;
    if (reusable || now < watched.deaf_until) {
      ++(reusable ? looks_reused_ : unanswered_);
      samples_.add(watched.cell, {1, elapsed.count()}, now);
    } else {
      moved.push_back(tid);
    }
  }
  return moved;
}

ModuleTables Capture::tables_for(MonotonicTime now) {
  const Duration age = now - modules_read_;
  if (age < (met_unknown_code_ ? Duration(kModulesAge) : Duration(kModulesAgeMax))) {
    return ModuleTables::kAsTheyAre;
  }
  modules_read_ = now;
  met_unknown_code_ = false;
  return ModuleTables::kRefresh;
}

void Capture::take(Watched& watched, ThreadStack thread, Duration elapsed, MonotonicTime now) {
  if (thread.failure == CaptureFailure::kGone) {
    watched_.erase(thread.tid);
    return;
  }
  if (thread.failure == CaptureFailure::kSignalBlocked) watched.deaf_until = now + kDeafFor;
  if (thread.step == CaptureStep::kNone) {
    ++unanswered_;
    thread.work = work_of_thread(thread.tid);
  } else if (thread.stack.end != StackEnd::kComplete) {
    ++truncated_;
  }
  if (thread.stack.end == StackEnd::kNoUnwindInfo) met_unknown_code_ = true;
  watched.was_blocked = thread.step == CaptureStep::kSignalFree;
  const std::string_view state = wait_reason(thread);
  watched.cell = samples_.cell_of(std::move(thread.stack), thread.work, state);
  samples_.add(watched.cell, {1, elapsed.count()}, now);
}

void Capture::look_at(const std::vector<pid_t>& tids, Duration elapsed, MonotonicTime now) {
  if (tids.empty()) return;
  for (ThreadStack& thread :
       collector_.capture(tids, clock_.now() + kAnswerWithin, tables_for(now))) {
    const auto watched = watched_.find(thread.tid);
    if (watched != watched_.end()) take(watched->second, std::move(thread), elapsed, now);
  }
}

// A period after the last one was due, so that late wake-ups do not add up; but not sooner than the
// limits allow, and what was missed is not made up for.
void Capture::schedule_next(std::size_t threads, MonotonicTime began, std::int64_t cpu_ns) {
  const Duration for_looks = Duration(std::chrono::seconds(1)) *
                             static_cast<std::int64_t>(threads) / kWallLooksPerSecondMax;
  const Duration for_cpu(static_cast<std::int64_t>(static_cast<double>(cpu_ns) / kWallCpuShareMax));
  const MonotonicTime earliest = began + std::max(for_looks, for_cpu);
  next_due_ = std::max({next_due_ + period_, earliest, clock_.now()});
}

MonotonicTime Capture::round(MonotonicTime now) {
  samples_.settle(now);
  // Woken for a task's threshold, not for the threads.
  if (now < next_due_) return std::min(next_due_, samples_.next_threshold());
  ++rounds_;
  const std::int64_t cpu_ns = own_cpu_ns();
  // The first round has no time before it: it counts for one period.
  const Duration elapsed = rounds_ == 1 ? period_ : now - last_round_;
  last_round_ = now;
  const std::vector<pid_t> tids = threads();
  look_at(count_unmoved(tids, elapsed, now), elapsed, now);
  std::erase_if(watched_, [&](const auto& entry) { return entry.second.round != rounds_; });
  schedule_next(tids.size(), now, own_cpu_ns() - cpu_ns);
  return std::min(next_due_, samples_.next_threshold());
}

StackProfile Capture::finish() {
  const MonotonicTime now = clock_.now();
  StackProfile profile;
  profile.name = "wall";
  profile.sample_types = {{"samples", "count"}, {"time", "nanoseconds"}};
  profile.default_sample_type = "time";
  profile.period_type = {"wallclock", "nanoseconds"};
  profile.period = period_.count();
  profile.start = wall_start_;
  profile.duration = now - start_;
  samples_.finish(now, profile);
  const std::int64_t due = profile.duration / period_;
  profile.counters["looks"] = looks_;
  profile.counters["looks_reused"] = looks_reused_;
  profile.counters["threads_unanswered"] = unanswered_;
  profile.counters["stacks_truncated"] = truncated_;
  profile.counters["rounds_skipped"] =
      std::max<std::int64_t>(0, due - static_cast<std::int64_t>(rounds_));
  profile.counters["collector_cpu_ns"] = own_cpu_ns() - cpu_ns_start_;
  return profile;
}

}  // namespace

Result<StackProfile> WallProfiler::profile(const WallProfileOptions& options,
                                           const std::stop_token& stop) {
  if (options.hz < kWallHzMin || options.hz > kWallHzMax) {
    return Error(ErrorCode::kInvalidArgument, "hz must be 1 to 1000");
  }
  if (auto tids = list_threads(); !tids) return std::move(tids).error();
  Capture capture(options, clock_, collector_);
  run_rounds(clock_, options.deadline, stop, [&](MonotonicTime now) { return capture.round(now); });
  return capture.finish();
}

}  // namespace vigil::sampler
