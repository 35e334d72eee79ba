#include "sampler/cpu_profiler.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/thread_id.h"
#include "sampler/cpu_timers.h"
#include "sampler/proc_thread.h"
#include "sampler/rounds.h"
#include "sampler/sample_session.h"
#include "sampler/signal_capture.h"
#include "sampler/thread_census.h"
#include "sampler/thread_work.h"

namespace vigil::sampler {
namespace {

// Between two looks for new threads and two drains of the samples.
constexpr std::chrono::milliseconds kStep{10};
// Libraries may be loaded while we profile: at once when code without a module is met, but not more
// often than this.
constexpr std::chrono::milliseconds kModulesAge{100};
// And in any case this often: another library may have taken an unloaded one's place.
constexpr std::chrono::seconds kModulesAgeMax{1};

// One capture, on its caller's thread.
class Capture {
 public:
  Capture(const CpuProfileOptions& options, Clock& clock, Modules& modules, Unwinder& unwinder,
          SignalChannel& channel, std::unique_ptr<SampleSession> session)
      : clock_(clock),
        modules_(modules),
        unwinder_(unwinder),
        period_ns_(1'000'000'000 / options.hz),
        samples_(options.samples),
        session_(std::move(session)),
        timers_(std::make_unique<CpuTimers>(channel.signal_number(), session_->signal_value(),
                                            std::chrono::nanoseconds(period_ns_))),
        start_(clock.now()),
        wall_start_(clock.wall_now()),
        modules_read_(start_) {}

  // One round: new threads, waiting samples.
  void step(MonotonicTime now);
  // When the next round is due at the latest.
  MonotonicTime next_step(MonotonicTime now) const {
    return std::min<MonotonicTime>(now + kStep, samples_.next_threshold());
  }
  // No more samples from here on; what there is becomes the profile.
  StackProfile finish();

 private:
  void take(const sigsafe::Slot& slot, MonotonicTime now);
  void take_unsampled(MonotonicTime now);
  void refresh_modules(MonotonicTime now);

  Clock& clock_;
  Modules& modules_;
  Unwinder& unwinder_;
  const std::int64_t period_ns_;
  SampleTable samples_;
  std::unique_ptr<SampleSession> session_;
  std::unique_ptr<CpuTimers> timers_;
  ThreadCensus census_;
  const MonotonicTime start_;
  const WallTime wall_start_;
  MonotonicTime modules_read_;
  const std::int64_t cpu_ns_start_ = own_cpu_ns();
  const pid_t own_tid_ = current_thread_id();

  bool met_unknown_code_ = false;
  std::int64_t samples_without_stack_ = 0;
  std::int64_t stacks_truncated_ = 0;
};

void Capture::refresh_modules(MonotonicTime now) {
  const Duration age = now - modules_read_;
  if (age < (met_unknown_code_ ? Duration(kModulesAge) : Duration(kModulesAgeMax))) return;
  // On failure the old table serves on; addresses in newer code then end their walks, which is
  // counted.
  (void)modules_.refresh();
  modules_read_ = now;
  met_unknown_code_ = false;
}

void Capture::take(const sigsafe::Slot& slot, MonotonicTime now) {
  const RegisterSet registers = registers_of(slot);
  const std::int64_t weight = timers_->count(slot.tid, slot.weight);
  if (slot.stack_bytes == 0) samples_without_stack_ += weight;
  Stack stack = unwinder_.unwind(registers, stack_of(slot), kFramesMax);
  if (stack.end != StackEnd::kComplete) stacks_truncated_ += weight;
  if (stack.end == StackEnd::kNoUnwindInfo) met_unknown_code_ = true;
  samples_.add(samples_.cell_of(std::move(stack), work_of(slot.work), {}),
               {weight, weight * period_ns_}, now);
}

void Capture::step(MonotonicTime now) {
  refresh_modules(now);
  if (census_.look(now)) timers_->follow(census_.tids(), own_tid_);
  session_->drain([&](const sigsafe::Slot& slot) { take(slot, now); });
  samples_.settle(now);
}

// What threads used that ended unseen, or behind their last sample, is in the sum, without a stack.
void Capture::take_unsampled(MonotonicTime now) {
  const std::int64_t weight = timers_->unsampled(static_cast<std::int64_t>(session_->lost()));
  if (weight == 0) return;
  samples_without_stack_ += weight;
  samples_.add(samples_.cell_of({}, {}, {}), {weight, weight * period_ns_}, now);
}

StackProfile Capture::finish() {
  const std::int64_t threads_unsampled = static_cast<std::int64_t>(timers_->refused());
  const std::int64_t threads_blocking = static_cast<std::int64_t>(timers_->blocking());
  timers_->disarm();
  session_->close();
  const MonotonicTime now = clock_.now();
  session_->drain([&](const sigsafe::Slot& slot) { take(slot, now); });
  take_unsampled(now);

  StackProfile profile;
  profile.name = "profile";
  profile.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
  profile.default_sample_type = "cpu";
  profile.period_type = {"cpu", "nanoseconds"};
  profile.period = period_ns_;
  profile.start = wall_start_;
  profile.duration = now - start_;
  samples_.finish(now, profile);
  profile.counters["samples_lost"] = static_cast<std::int64_t>(session_->lost());
  profile.counters["samples_without_stack"] = samples_without_stack_;
  profile.counters["stacks_truncated"] = stacks_truncated_;
  profile.counters["threads_unsampled"] = threads_unsampled;
  profile.counters["threads_blocking_signal"] = threads_blocking;
  profile.counters["collector_cpu_ns"] = own_cpu_ns() - cpu_ns_start_;
  return profile;
}

}  // namespace

CpuProfiler::CpuProfiler(Clock& clock, Modules& modules, Unwinder& unwinder, SignalChannel& channel)
    : clock_(clock), modules_(modules), unwinder_(unwinder), channel_(channel) {}

Result<StackProfile> CpuProfiler::profile(const CpuProfileOptions& options, std::stop_token stop) {
  if (options.hz < kCpuHzMin || options.hz > kCpuHzMax) {
    return Error(ErrorCode::kInvalidArgument, "hz must be 1 to 1000");
  }
  if (auto refreshed = modules_.refresh(); !refreshed) return std::move(refreshed).error();
  if (auto tids = list_threads(); !tids) return std::move(tids).error();
  auto session = SampleSession::open(channel_);
  if (!session) return std::move(session).error();

  Capture capture(options, clock_, modules_, unwinder_, channel_, std::move(*session));
  run_rounds(clock_, options.deadline, stop, [&](MonotonicTime now) {
    capture.step(now);
    return capture.next_step(now);
  });
  return capture.finish();
}

}  // namespace vigil::sampler
