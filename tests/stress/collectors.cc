#include "tests/stress/collectors.h"

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <stdexcept>
#include <unordered_map>

#include "tests/sampler/frame_names.h"

namespace vigil::test {

using namespace std::chrono_literals;
using namespace vigil::sampler;

namespace {

template <typename T>
std::unique_ptr<T> made(Result<std::unique_ptr<T>> result) {
  if (!result) throw std::runtime_error(result.error().message());
  return *std::move(result);
}

// The same, but null where this program does not have it.
template <typename T>
std::unique_ptr<T> made_if_supported(Result<std::unique_ptr<T>> result) {
  if (!result && result.error().code() == ErrorCode::kUnsupported) return nullptr;
  return made(std::move(result));
}

// The last column of `profile`, added up by the label kWho.
std::map<std::string, std::int64_t> by_who(const StackProfile& profile) {
  std::map<std::string, std::int64_t> sums;
  for (const StackSample& sample : profile.samples) {
    const auto who = std::find_if(sample.labels.begin(), sample.labels.end(),
                                  [](const Label& label) { return label.key == kWho; });
    if (who != sample.labels.end()) sums[who->text] += sample.values.back();
  }
  return sums;
}

std::int64_t counter(const StackProfile& profile, std::string_view name) {
  const auto found = profile.counters.find(name);
  return found == profile.counters.end() ? 0 : found->second;
}

std::int64_t contentions(const StackProfile& profile) {
  std::int64_t sum = 0;
  for (const StackSample& sample : profile.samples) sum += sample.values.at(0);
  return sum;
}

// Whether a frame is in vigil_test_hold_block(). dladdr(3) is asked once for each address: it goes through all symbols.
class HeldFrames {
 public:
  bool operator()(FrameAddress frame) {
    const auto [known, is_new] = known_.try_emplace(frame.lookup(), false);
    if (is_new) known->second = frame_names(Stack{{frame}}).front() == "vigil_test_hold_block";
    return known->second;
  }

 private:
  std::unordered_map<std::uintptr_t, bool> known_;
};

VIGIL_TEST_FUNCTION char* vigil_test_hold_block(std::size_t bytes) {
  char* block = new char[bytes];
  asm volatile("" : : "r"(block) : "memory");
  return block;
}

}  // namespace

HeldMemory::HeldMemory() {
  // With tcmalloc a thread notices up to 16 MiB later that sampling is on (heap_profiler.h).
  for (int i = 0; i < 32; ++i) {
    const auto passing = std::make_unique<char[]>(1024 * 1024);
    asm volatile("" : : "r"(passing.get()) : "memory");
  }
  for (std::size_t i = 0; i < kBlocks; ++i)
    blocks_.emplace_back(vigil_test_hold_block(kBlockBytes));
}

Collectors::Collectors()
    : channel_(made(SignalChannel::install({}))),
      stacks_(made(StackCollector::create({}, clock_, modules_, unwinder_, *channel_))),
      heap_(made_if_supported(HeapProfiler::create(modules_, unwinder_))),
      contention_(made_if_supported(
          ContentionProfiler::create({.rate = 10us}, clock_, modules_, unwinder_))) {
  if (heap_ == nullptr) return;
  if (const Result<void> on = heap_->enable({.interval_bytes = kHeapInterval}); !on) {
    throw std::runtime_error(on.error().message());
  }
}

void Collectors::start(std::function<std::set<pid_t>()> expected) {
  expected_ = std::move(expected);
  observed_ = {};
  observe(&Collectors::profile_cpu);
  observe(&Collectors::profile_cpu_in_turns);
  observe(&Collectors::profile_wall);
  observe(&Collectors::dump);
  if (has_heap()) observe(&Collectors::snapshot_heap);
  if (has_contention()) observe(&Collectors::view_contention);
}

void Collectors::observe(void (Collectors::*work)(std::stop_token)) {
  ++running_;
  threads_.emplace_back([this, work](std::stop_token stop) {
    (this->*work)(std::move(stop));
    --running_;
  });
}

void Collectors::stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
}

Observed Collectors::join() {
  threads_.clear();
  if (has_contention()) observed_.contention = contention_->counters();
  return std::move(observed_);
}

void Collectors::failed(const Error& error) {
  const std::lock_guard lock(mutex_);
  observed_.errors.insert(error.message());
}

void Collectors::pause(Duration time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_until(lock, stop, clock_.now() + time, [] { return false; });
}

void Collectors::profile_cpu(std::stop_token stop) {
  CpuProfiler profiler(clock_, modules_, unwinder_, *channel_);
  const auto profile = profiler.profile({.hz = kCpuHzMax}, std::move(stop));
  if (!profile) return failed(profile.error());
  const std::lock_guard lock(mutex_);
  observed_.cpu_ns = by_who(*profile);
  observed_.cpu_lost_ns =
      (counter(*profile, "samples_lost") + counter(*profile, "samples_dropped") +
       counter(*profile, "samples_unlabelled")) *
      profile->period;
}

void Collectors::profile_cpu_in_turns(std::stop_token stop) {
  CpuProfiler profiler(clock_, modules_, unwinder_, *channel_);
  while (!stop.stop_requested()) {
    const auto profile = profiler.profile({.hz = 250, .deadline = clock_.now() + 50ms}, stop);
    if (!profile) return failed(profile.error());
    const std::lock_guard lock(mutex_);
    ++observed_.cpu_profiles;
  }
}

void Collectors::profile_wall(std::stop_token stop) {
  WallProfiler profiler(clock_, *stacks_);
  const auto profile = profiler.profile({.hz = 100}, stop);
  if (!profile) return failed(profile.error());
  const std::lock_guard lock(mutex_);
  observed_.wall_ns = by_who(*profile);
  observed_.wall_unanswered = counter(*profile, "threads_unanswered");
  observed_.wall_rounds_skipped = counter(*profile, "rounds_skipped");
  observed_.wall_looks = counter(*profile, "looks");
}

void Collectors::dump(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::set<pid_t> missing = expected_();
    const MonotonicTime begin = clock_.now();
    const std::vector<ThreadStack> threads = stacks_->capture_all(begin + 2s);
    const Duration took = clock_.now() - begin;
    const std::lock_guard lock(mutex_);
    for (const ThreadStack& thread : threads) {
      missing.erase(thread.tid);
      observed_.without_reason +=
          thread.step == CaptureStep::kNone && thread.failure == CaptureFailure::kNone;
    }
    const std::set<pid_t> still = expected_();
    observed_.unlisted += static_cast<std::uint64_t>(std::count_if(
        missing.begin(), missing.end(), [&](pid_t tid) { return still.contains(tid); }));
    observed_.longest_dump = std::max(observed_.longest_dump, took);
    ++observed_.dumps;
  }
}

void Collectors::snapshot_heap(std::stop_token stop) {
  HeldFrames is_held;
  while (!stop.stop_requested()) {
    const auto profile = heap_->snapshot(clock_.wall_now());
    if (!profile) return failed(profile.error());
    std::int64_t held = 0;
    for (const StackSample& sample : profile->samples) {
      const auto& frames = sample.stack.frames;
      if (std::any_of(frames.begin(), frames.end(), std::ref(is_held))) {
        held += sample.values.back();
      }
    }
    {
      const std::lock_guard lock(mutex_);
      observed_.held_bytes = held;
      ++observed_.snapshots;
    }
    pause(50ms, stop);
  }
}

void Collectors::view_contention(std::stop_token stop) {
  std::map<WaitView, std::int64_t> before;
  while (!stop.stop_requested()) {
    for (const WaitView view : {WaitView::kMutex, WaitView::kMutexHolder, WaitView::kBlock}) {
      const auto profile = contention_->waits(view);
      if (!profile) return failed(profile.error());
      const std::int64_t now = contentions(*profile);
      const std::lock_guard lock(mutex_);
      observed_.shrunk += now < std::exchange(before[view], now);
      ++observed_.views;
    }
    if (const auto creators = contention_->thread_creators(); !creators) {
      return failed(creators.error());
    }
    pause(20ms, stop);
  }
}

}  // namespace vigil::test
