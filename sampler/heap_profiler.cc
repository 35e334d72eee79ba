#include "sampler/heap_profiler.h"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <compare>
#include <cstddef>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "sampler/tcmalloc_api.h"

// In the objects of the two targets that a program may link (malloc_interpose.cc, tcmalloc_samples.cc).
extern "C" int vigil_malloc_is_interposed() __attribute__((weak));
extern "C" int vigil_tcmalloc_samples_are_seen() __attribute__((weak));

namespace vigil::sampler {
namespace {

constexpr std::int64_t kIntervalMin = 1024;
constexpr std::int64_t kIntervalMax = std::int64_t{1} << 30;

struct Group {
  std::vector<FrameAddress> frames;
  StackEnd end = StackEnd::kComplete;
  std::int64_t bytes = 0;
  friend auto operator<=>(const Group&, const Group&) = default;
};

// As many as the samples stand for.
struct Objects {
  double alloc = 0;
  double inuse = 0;
};

// What a sample of that size stands for, at a mean of `interval_bytes`.
double objects_per_sample(std::int64_t bytes, std::int64_t interval_bytes) {
  if (interval_bytes <= 1 || bytes <= 0) return 1;
  return 1 / (1 - std::exp(-static_cast<double>(bytes) / static_cast<double>(interval_bytes)));
}

// tcmalloc keeps the size that was asked for, and samples by the size class that serves it.
std::vector<HeapBucket> live_buckets(const std::vector<tcmalloc_api::Entry>& entries) {
  std::vector<HeapBucket> buckets;
  buckets.reserve(entries.size());
  for (const tcmalloc_api::Entry& entry : entries) {
    HeapBucket& bucket = buckets.emplace_back();
    bucket.stack = entry.stack;
    bucket.bytes = tcmalloc_api::served_bytes(entry.bytes);
    bucket.inuse_objects = entry.count;
  }
  return buckets;
}

}  // namespace

struct HeapProfiler::State {
  State(Modules& modules, Unwinder& unwinder) : collector(modules, unwinder) {}

  bool on_tcmalloc = false;
  HeapColumns columns = HeapColumns::kAllocAndInuse;
  HeapCollector collector;

  std::mutex mutex;          // guards all below
  std::int64_t found = 0;    // tcmalloc's switch at create()
  std::int64_t enabled = 0;  // what enable() set; 0: not ours
  std::int64_t bytes_before = 0;

  bool counts_allocations() const { return columns == HeapColumns::kAllocAndInuse; }
  Result<void> enable_tcmalloc(std::int64_t interval_bytes);
  Result<StackProfile> tcmalloc_snapshot();
  Result<StackProfile> interposed_snapshot();
};

HeapProfiler::HeapProfiler(std::unique_ptr<State> state) : state_(std::move(state)) {}

HeapProfiler::~HeapProfiler() { disable(); }

Result<std::unique_ptr<HeapProfiler>> HeapProfiler::create(Modules& modules, Unwinder& unwinder) {
  auto state = std::make_unique<State>(modules, unwinder);
  // In front of tcmalloc, ours sees more than its sampler tells, and from the first byte on.
  if (vigil_malloc_is_interposed != nullptr && vigil_malloc_is_interposed() != 0) {
    return std::unique_ptr<HeapProfiler>(new HeapProfiler(std::move(state)));
  }
  if (tcmalloc_api::present()) {
    state->on_tcmalloc = true;
    state->found = tcmalloc_api::sample_parameter().load(std::memory_order_relaxed);
    if (vigil_tcmalloc_samples_are_seen == nullptr) state->columns = HeapColumns::kInuse;
  } else {
    return Error(ErrorCode::kUnsupported,
                 "a heap profile needs a sampler in the allocator, and this program has none: link "
                 "it with tcmalloc (-ltcmalloc, "
                 "Debian package libgoogle-perftools-dev), or start it with "
                 "LD_PRELOAD=libtcmalloc.so.4, or link "
                 "vigil::malloc_interpose, which samples any allocator");
  }
  return std::unique_ptr<HeapProfiler>(new HeapProfiler(std::move(state)));
}

HeapColumns HeapProfiler::columns() const { return state_->columns; }

Result<void> HeapProfiler::State::enable_tcmalloc(std::int64_t interval_bytes) {
  if (found > 0) {
    // Another profiler of this process may be what switched it on: then that one counts allocations.
    if (counts_allocations() && !collector.start(found)) columns = HeapColumns::kInuse;
    return Error(ErrorCode::kBusy, "heap sampling is already on, every " + std::to_string(found) +
                                       " bytes, by the program or by TCMALLOC_SAMPLE_PARAMETER");
  }
  if (counts_allocations()) {
    if (Result<void> started = collector.start(interval_bytes); !started) return started;
  }
  if (enabled == 0) bytes_before = tcmalloc_api::allocated_bytes();
  tcmalloc_api::sample_parameter().store(interval_bytes, std::memory_order_relaxed);
  return {};
}

Result<void> HeapProfiler::enable(HeapProfilerOptions options) {
  if (options.interval_bytes < kIntervalMin || options.interval_bytes > kIntervalMax) {
    return Error(ErrorCode::kInvalidArgument,
                 "the heap sampling interval must be from 1 KiB to 1 GiB");
  }
  if (options.samples_per_second_max < 0) {
    return Error(ErrorCode::kInvalidArgument, "samples_per_second_max must not be negative");
  }
  const std::lock_guard lock(state_->mutex);
  const Result<void> started =
      state_->on_tcmalloc
          ? state_->enable_tcmalloc(options.interval_bytes)
          : state_->collector.start(options.interval_bytes, options.samples_per_second_max);
  if (started) state_->enabled = options.interval_bytes;
  return started;
}

void HeapProfiler::disable() {
  const std::lock_guard lock(state_->mutex);
  state_->collector.stop();
  if (state_->enabled == 0) return;
  if (state_->on_tcmalloc) {
    tcmalloc_api::sample_parameter().store(state_->found, std::memory_order_relaxed);
  }
  state_->enabled = 0;
}

Result<StackProfile> HeapProfiler::State::tcmalloc_snapshot() {
  int interval = 0;
  // The live objects first: what is sampled in between is then in the cumulative columns at least.
  const auto live = tcmalloc_api::read_stack_traces(interval);
  if (!live || interval <= 0) {
    return Error(ErrorCode::kUnsupported,
                 "heap sampling is off: enable it before asking for a profile");
  }
  std::vector<HeapBucket> buckets = live_buckets(*live);
  if (counts_allocations()) {
    for (HeapBucket& bucket : collector.buckets()) buckets.push_back(std::move(bucket));
  }
  StackProfile profile = heap_profile_of(buckets, interval, columns);
  if (bytes_before > 0) profile.settings["heap_bytes_before_sampling"] = bytes_before;
  return profile;
}

Result<StackProfile> HeapProfiler::State::interposed_snapshot() {
  if (enabled == 0) {
    return Error(ErrorCode::kUnsupported,
                 "heap sampling is off: enable it before asking for a profile");
  }
  StackProfile profile = heap_profile_of(collector.buckets(), enabled, columns);
  const std::int64_t in_effect = collector.interval_in_effect();
  if (in_effect != enabled) profile.settings["interval_in_effect"] = in_effect;
  return profile;
}

Result<StackProfile> HeapProfiler::snapshot(WallTime now) {
  const std::lock_guard lock(state_->mutex);
  auto profile = state_->on_tcmalloc ? state_->tcmalloc_snapshot() : state_->interposed_snapshot();
  if (!profile) return profile;
  profile->start = now;
  profile->counter_span = CounterSpan::kSinceStart;
  const HeapLoss loss = state_->collector.loss();
  profile->counters["samples_lost"] = loss.samples_lost;
  profile->counters["samples_untracked"] = loss.samples_untracked;
  profile->counters["buckets_full"] = loss.buckets_full;
  return profile;
}

HeapLoss HeapProfiler::loss() const { return state_->collector.loss(); }

Result<StackProfile> HeapProfiler::growth(WallTime now) {
  const auto entries =
      state_->on_tcmalloc ? tcmalloc_api::read_growth_stack_traces() : std::nullopt;
  if (!entries) {
    return Error(ErrorCode::kUnsupported,
                 "where the heap grew is known to tcmalloc only: link the program with -ltcmalloc, "
                 "or start it with "
                 "LD_PRELOAD=libtcmalloc.so.4");
  }
  StackProfile profile;
  profile.name = "growth";
  profile.sample_types = {{"objects", "count"}, {"space", "bytes"}};
  profile.default_sample_type = "space";
  profile.leaf_frames = LeafFrames::kWithoutAllocator;
  profile.period_type = {"space", "bytes"};
  profile.period = 1;
  profile.start = now;
  profile.counter_span = CounterSpan::kSinceStart;
  for (const tcmalloc_api::Entry& entry : *entries) {
    profile.samples.push_back({entry.stack, {entry.count, entry.count * entry.bytes}, {}});
  }
  return profile;
}

void HeapProfiler::release_free_memory() {
  if (state_->on_tcmalloc) {
    tcmalloc_api::release_free_memory();
  } else {
    ::malloc_trim(0);
  }
}

StackProfile heap_profile_of(std::span<const HeapBucket> buckets, std::int64_t interval_bytes,
                             HeapColumns columns) {
  StackProfile profile;
  profile.name = "heap";
  if (columns == HeapColumns::kAllocAndInuse) {
    profile.sample_types = {{"alloc_objects", "count"}, {"alloc_space", "bytes"}};
  }
  profile.sample_types.push_back({"inuse_objects", "count"});
  profile.sample_types.push_back({"inuse_space", "bytes"});
  profile.default_sample_type = "inuse_space";
  profile.leaf_frames = LeafFrames::kWithoutAllocator;
  profile.period_type = {"space", "bytes"};
  profile.period = interval_bytes;

  std::map<Group, Objects> groups;
  for (const HeapBucket& bucket : buckets) {
    Objects& objects = groups[{bucket.stack.frames, bucket.stack.end, bucket.bytes}];
    const double scale = objects_per_sample(
        bucket.bytes, bucket.interval_bytes != 0 ? bucket.interval_bytes : interval_bytes);
    objects.alloc += scale * static_cast<double>(bucket.alloc_objects);
    objects.inuse += scale * static_cast<double>(bucket.inuse_objects);
  }
  for (const auto& [group, objects] : groups) {
    StackSample sample;
    sample.stack = {group.frames, group.end};
    const auto append = [&, size = static_cast<double>(group.bytes)](double count) {
      sample.values.push_back(std::llround(count));
      sample.values.push_back(std::llround(count * size));
    };
    if (columns == HeapColumns::kAllocAndInuse) append(objects.alloc);
    append(objects.inuse);
    sample.labels = {{.key = "bytes", .text = {}, .number = group.bytes, .unit = "bytes"}};
    profile.samples.push_back(std::move(sample));
  }
  return profile;
}

StackProfile allocs_profile_of(StackProfile heap) {
  heap.name = "allocs";
  heap.default_sample_type = "alloc_space";
  return heap;
}

}  // namespace vigil::sampler
