#include "sampler/contention_profiler.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/signal_mask.h"
#include "sampler/contention/tables_setup.h"
#include "sampler/contention/ticks.h"
#include "sampler/contention/wait_recorder.h"
#include "sampler/own_wait.h"
#include "sampler/proc_thread.h"
#include "sampler/rounds.h"
#include "sampler/sigsafe/raw_syscall.h"
#include "sampler/wait_table.h"

// In lock_hooks.cc, which is linked with vigil::contention only.
extern "C" __attribute__((weak)) const char vigil_contention_hooks;

namespace vigil::sampler {
namespace {

using contention::WaitKind;
using contention::WaitSlot;

constexpr Duration kStep = std::chrono::milliseconds(100);
// Where nobody waits, and with waits switched off, when only creations of threads come: an idle program is not to be woken.
constexpr Duration kStepQuiet = std::chrono::seconds(1);
// The rate in effect is looked at no more often than this.
constexpr Duration kAdaptAfter = std::chrono::milliseconds(50);
constexpr Duration kModulesAge = std::chrono::seconds(1);

constexpr const char* kBeforeFrame = "[created before vigil]";
constexpr const char* kNotSeenFrame = "[creator not seen]";

constinit std::atomic<bool> g_exists{false};

// The child of a fork has no collector (and its hooks are off: tables_setup.cc); it may have one of its own.
void have_children_begin_anew() {
  static std::once_flag once;
  std::call_once(once, [] { ::pthread_atfork(nullptr, nullptr, [] { g_exists.store(false); }); });
}

// The clock of ThreadStat::start_ticks.
std::uint64_t ticks_since_boot() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return static_cast<std::uint64_t>(time.tv_sec) * per_second +
         static_cast<std::uint64_t>(time.tv_nsec) * per_second / 1'000'000'000;
}

Result<void> check(const ContentionOptions& options) {
  if (options.stacks_max < 16 || options.stacks_max > 1'000'000) {
    return Error(ErrorCode::kInvalidArgument, "stacks_max must be 16 to 1000000");
  }
  if (options.samples_per_second_max < 10) {
    return Error(ErrorCode::kInvalidArgument, "samples_per_second_max must be 10 or more");
  }
  return {};
}

Result<void> check_rate(Duration rate) {
  if (rate < Duration::zero() || rate > kContentionRateMax) {
    return Error(ErrorCode::kInvalidArgument,
                 "the contention rate must be 0 to 100000000000 nanoseconds");
  }
  return {};
}

std::int64_t signed_of(std::uint64_t value) { return static_cast<std::int64_t>(value); }

}  // namespace

class ContentionProfiler::Impl {
 public:
  Impl(const ContentionOptions& options, Clock& clock, Modules& modules, Unwinder& unwinder,
       contention::WaitTables& tables)
      : options_(options),
        clock_(clock),
        modules_(modules),
        unwinder_(unwinder),
        tables_(tables),
        waits_(options.stacks_max),
        adapted_(clock.now()) {}

  Result<void> start();
  void stop();
  Result<void> set_rate(Duration rate);
  Duration rate() const { return Duration(rate_ns_.load()); }
  // What there is to be taken up the next time, as far as this step can tell.
  enum class Expected : std::uint8_t { kSamples, kNothing };
  Expected step(MonotonicTime now);
  Result<StackProfile> waits(WaitView view);
  Result<StackProfile> thread_creators();
  ContentionCounters public_counters() const {
    const std::lock_guard lock(mutex_);
    return counters();
  }

 private:
  struct Creator {
    std::uint32_t generation = 0;
    Stack stack;
  };

  void run();
  void take(const WaitSlot& slot);          // with mutex_
  void refresh_modules(MonotonicTime now);  // with mutex_
  void adapt(MonotonicTime now);            // with mutex_
  StackProfile empty_profile(std::string name, std::vector<ValueType> types) const;
  const Stack* creator_of(std::size_t index, std::uint32_t generation) const;  // with mutex_
  void add_loss(StackProfile& profile) const;                                  // with mutex_
  ContentionCounters counters() const;                                         // with mutex_

  const ContentionOptions options_;
  Clock& clock_;
  Modules& modules_;
  Unwinder& unwinder_;
  contention::WaitTables& tables_;
  std::atomic<std::int64_t> rate_ns_{0};  // as asked for
  std::atomic<std::int64_t> collector_cpu_ns_{0};
  const std::uint64_t start_ticks_ = ticks_since_boot();
  std::atomic<bool> stopping_{false};

  mutable std::mutex mutex_;
  WaitTable waits_;                                    // guarded by mutex_
  std::unordered_map<std::size_t, Creator> creators_;  // guarded by mutex_; by record
  MonotonicTime modules_read_{};                       // guarded by mutex_
  MonotonicTime adapted_;                              // guarded by mutex_
  std::uint64_t samples_since_adapted_ = 0;            // guarded by mutex_
  std::thread thread_;
};

Result<void> ContentionProfiler::Impl::start() {
  contention::note_creations(true);
  const SignalMaskGuard guard = SignalMaskGuard::program_signals();
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::exception& error) {  // no thread, or no memory for one
    return Error(ErrorCode::kResourceExhausted,
                 "no thread for the contention profile: " + std::string(error.what()));
  }
  return {};
}

void ContentionProfiler::Impl::stop() {
  contention::set_rate_in_effect(0);
  contention::note_creations(false);
  stopping_.store(true);
  tables_.half_full.fetch_add(1);
  sigsafe::raw_syscall(SYS_futex, reinterpret_cast<long>(&tables_.half_full), FUTEX_WAKE_PRIVATE,
                       1);
  if (thread_.joinable()) thread_.join();
}

void ContentionProfiler::Impl::run() {
  pthread_setname_np(pthread_self(), "vglock");
  const OwnWait all_its_life;
  // Not a condition variable: the hooks, which wake this thread, cannot notify one.
  contention::TickScale ticks;
  while (!stopping_.load()) {
    const std::uint32_t seen = tables_.half_full.load();
    const Expected next = step(clock_.now());
    ticks.step();
    collector_cpu_ns_.store(own_cpu_ns(), std::memory_order_relaxed);
    if (stopping_.load()) break;
    const bool is_quiet = next == Expected::kNothing && !ticks.is_measuring();
    const Duration pause = rate_ns_.load() == 0 || is_quiet ? kStepQuiet : kStep;
    const timespec timeout{pause / std::chrono::seconds(1),
                           (pause % std::chrono::seconds(1)).count()};
    sigsafe::raw_syscall(SYS_futex, reinterpret_cast<long>(&tables_.half_full), FUTEX_WAIT_PRIVATE,
                         static_cast<long>(seen), reinterpret_cast<long>(&timeout));
  }
}

Result<void> ContentionProfiler::Impl::set_rate(Duration rate) {
  if (Result<void> checked = check_rate(rate); !checked) return checked;
  const std::lock_guard lock(mutex_);
  rate_ns_.store(rate.count());
  contention::waiters.forget_waits();  // weights are for the rate before
  contention::set_rate_in_effect(rate.count());
  return {};
}

void ContentionProfiler::Impl::refresh_modules(MonotonicTime now) {
  if (now - modules_read_ < kModulesAge) return;
  // On failure the old table serves on; walks into newer code then end early, which is counted.
  (void)modules_.refresh();
  modules_read_ = now;
}

void ContentionProfiler::Impl::take(const WaitSlot& slot) {
  Stack stack = contention::unwind_slot(slot, unwinder_);
  if (slot.kind == WaitKind::kThread) {
    creators_[slot.record] = {slot.generation, std::move(stack)};
    return;
  }
  ++samples_since_adapted_;
  waits_.add(slot.kind, std::move(stack), slot.count, slot.delay_ns);
}

ContentionProfiler::Impl::Expected ContentionProfiler::Impl::step(MonotonicTime now) {
  const std::lock_guard lock(mutex_);
  bool first = true;
  contention::drain_slots(tables_, [&](const WaitSlot& slot) noexcept {
    try {
      if (std::exchange(first, false)) refresh_modules(now);
      take(slot);
    } catch (const std::bad_alloc&) {
      contention::counters.samples_lost.fetch_add(1, std::memory_order_relaxed);
      contention::counters.lost_delay_ns.fetch_add(static_cast<std::uint64_t>(slot.delay_ns),
                                                   std::memory_order_relaxed);
    }
  });
  adapt(now);
  // A rate that was made coarser comes back step by step.
  const bool is_coarser = contention::rate_in_effect() > rate_ns_.load();
  return first && !is_coarser ? Expected::kNothing : Expected::kSamples;
}

// More samples than the bound make the rate in effect coarser in proportion; less than half of it
// lets it come back to what was asked for, a factor of two at a time. Every sample is weighed at
// the rate that was in effect for it, so the sums stay unbiased.
void ContentionProfiler::Impl::adapt(MonotonicTime now) {
  const Duration elapsed = now - adapted_;
  if (elapsed < kAdaptAfter) return;
  const double allowed = static_cast<double>(options_.samples_per_second_max) *
                         std::chrono::duration<double>(elapsed).count();
  const auto taken = static_cast<double>(std::exchange(samples_since_adapted_, 0));
  adapted_ = now;
  const std::int64_t asked = rate_ns_.load();
  if (asked == 0) return;
  const std::int64_t current = std::max(contention::rate_in_effect(), asked);
  std::int64_t next = current;
  if (taken > allowed) {
    next = static_cast<std::int64_t>(static_cast<double>(current) * taken / allowed);
  } else if (taken < allowed / 2) {
    next = current / 2;
  }
  const std::int64_t longest = std::max(Duration(kContentionRateMax).count(), asked);
  contention::set_rate_in_effect(std::clamp(next, asked, longest));
}

StackProfile ContentionProfiler::Impl::empty_profile(std::string name,
                                                     std::vector<ValueType> types) const {
  StackProfile profile;
  profile.name = std::move(name);
  profile.period_type = types.front();
  profile.default_sample_type = types.back().type;
  profile.sample_types = std::move(types);
  profile.period = 1;
  profile.start = clock_.wall_now();
  profile.counter_span = CounterSpan::kSinceStart;
  return profile;
}

void ContentionProfiler::Impl::add_loss(StackProfile& profile) const {
  const ContentionCounters counted = counters();
  profile.counters["samples_lost"] = signed_of(counted.samples_lost);
  profile.counters["lost_delay_ns"] = counted.lost_delay.count();
  profile.counters["table_full_samples"] = signed_of(counted.table_full);
  profile.counters["collector_cpu_ns"] = counted.collector_cpu.count();
  profile.settings["rate_ns"] = rate_ns_.load();
  const std::int64_t effective = contention::rate_in_effect();
  if (effective != rate_ns_.load()) profile.settings["rate_in_effect_ns"] = effective;
}

Result<StackProfile> ContentionProfiler::Impl::waits(WaitView view) {
  step(clock_.now());
  const std::lock_guard lock(mutex_);
  if (rate_ns_.load() == 0 && waits_.stacks() == 0) {
    return Error(ErrorCode::kUnsupported,
                 "contention profiling is switched off (its rate is 0): start the program with a "
                 "contention rate, or set one with POST to /debug/pprof/rates");
  }
  StackProfile profile = empty_profile(view == WaitView::kBlock ? "block" : "mutex",
                                       {{"contentions", "count"}, {"delay", "nanoseconds"}});
  profile.made_up_frames = {{FrameAddress::made_up(0), {WaitTable::kTableFullFrame}}};
  if (view == WaitView::kMutexHolder) {
    waits_.append(WaitKind::kHolder, profile.samples);
    const ContentionCounters counted = counters();
    profile.counters["handoff_ns"] = counted.handoff.count();
    profile.counters["waiters_unseen"] = signed_of(counted.waiters_unseen);
  } else {
    waits_.append(WaitKind::kMutex, profile.samples);
    waits_.append(WaitKind::kRwlock, profile.samples);
  }
  if (view == WaitView::kBlock) {
    waits_.append(WaitKind::kCondition, profile.samples);
    waits_.append(WaitKind::kSemaphore, profile.samples);
    waits_.append(WaitKind::kJoin, profile.samples);
  }
  add_loss(profile);
  return profile;
}

const Stack* ContentionProfiler::Impl::creator_of(std::size_t index,
                                                  std::uint32_t generation) const {
  const auto found = creators_.find(index);
  if (found == creators_.end() || found->second.generation != generation) return nullptr;
  return &found->second.stack;
}

Result<StackProfile> ContentionProfiler::Impl::thread_creators() {
  step(clock_.now());
  const auto tids = list_threads();
  if (!tids) return std::move(tids).error();
  StackProfile profile = empty_profile("threadcreate", {{"threadcreate", "count"}});
  profile.made_up_frames = {{FrameAddress::made_up(0), {kBeforeFrame}},
                            {FrameAddress::made_up(1), {kNotSeenFrame}}};
  profile.counters["threads_unseen"] =
      signed_of(contention::counters.threads_unseen.load(std::memory_order_relaxed));
  std::unordered_map<pid_t, const Stack*> seen;
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < tables_.records.size(); ++i) {
    const contention::ThreadRecord& record = tables_.records[i];
    const std::uint32_t generation = record.generation.load();
    const pid_t tid = record.tid.load();
    if (tid != 0 && record.generation.load() == generation) seen[tid] = creator_of(i, generation);
  }
  const auto made_up = [](std::uint8_t number) {
    return Stack{{FrameAddress::made_up(number)}, StackEnd::kComplete};
  };
  for (const pid_t tid : *tids) {
    const auto found = seen.find(tid);
    if (found != seen.end() && found->second != nullptr) {
      profile.samples.push_back({*found->second, {1}, {}});
      continue;
    }
    const auto stat = read_thread_stat(tid);
    if (!stat) continue;  // it has ended meanwhile
    const bool before = found == seen.end() && stat->start_ticks <= start_ticks_;
    profile.samples.push_back({made_up(before ? 0 : 1), {1}, {}});
  }
  return profile;
}

ContentionCounters ContentionProfiler::Impl::counters() const {
  const contention::WaitCounters& shared = contention::counters;
  ContentionCounters out;
  for (std::size_t i = 0; i < contention::kWaitKinds; ++i) {
    if (static_cast<WaitKind>(i) != WaitKind::kThread) out.samples += shared.samples[i].load();
  }
  out.samples_lost = shared.samples_lost.load();
  out.lost_delay = Duration(signed_of(shared.lost_delay_ns.load()));
  out.waiters_unseen = shared.waiters_unseen.load();
  out.handoff = Duration(signed_of(shared.handoff_ns.load()));
  out.threads_unseen = shared.threads_unseen.load();
  out.waiting = contention::waiters.waiting();
  out.collector_cpu = Duration(collector_cpu_ns_.load());
  out.stacks = waits_.stacks();
  out.table_full = waits_.overflowed();
  return out;
}

Result<std::unique_ptr<ContentionProfiler>> ContentionProfiler::create(ContentionOptions options,
                                                                       Clock& clock,
                                                                       Modules& modules,
                                                                       Unwinder& unwinder) {
  if (&vigil_contention_hooks == nullptr) {
    return Error(ErrorCode::kUnsupported,
                 "the program's lock functions are not interposed: link it with vigil::contention");
  }
  return create_without_hooks(options, clock, modules, unwinder);
}

Result<std::unique_ptr<ContentionProfiler>> ContentionProfiler::create_without_hooks(
    ContentionOptions options, Clock& clock, Modules& modules, Unwinder& unwinder) {
  if (Result<void> checked = check(options); !checked) return std::move(checked).error();
  if (Result<void> checked = check_rate(options.rate); !checked) return std::move(checked).error();
  auto tables = contention::prepare_tables();
  if (!tables) return std::move(tables).error();
  have_children_begin_anew();
  if (g_exists.exchange(true)) {
    return Error(ErrorCode::kBusy, "contention is being profiled already in this process");
  }
  std::unique_ptr<ContentionProfiler> made;
  try {
    made.reset(new ContentionProfiler(
        std::make_unique<Impl>(options, clock, modules, unwinder, **tables)));
  } catch (...) {
    g_exists.store(false);
    throw;
  }
  // What a predecessor left is not this one's.
  contention::drain_slots(**tables, [](const WaitSlot&) {});
  contention::waiters.forget_waits();
  if (Result<void> started = made->impl_->start(); !started) return std::move(started).error();
  (void)made->set_rate(options.rate);
  return made;
}

ContentionProfiler::ContentionProfiler(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ContentionProfiler::~ContentionProfiler() {
  impl_->stop();
  g_exists.store(false);
}

Result<void> ContentionProfiler::set_rate(Duration rate) { return impl_->set_rate(rate); }
Duration ContentionProfiler::rate() const { return impl_->rate(); }
Result<StackProfile> ContentionProfiler::waits(WaitView view) { return impl_->waits(view); }
Result<StackProfile> ContentionProfiler::thread_creators() { return impl_->thread_creators(); }
ContentionCounters ContentionProfiler::counters() const { return impl_->public_counters(); }
void ContentionProfiler::step(MonotonicTime now) { impl_->step(now); }

}  // namespace vigil::sampler
