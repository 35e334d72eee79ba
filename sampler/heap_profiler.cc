#include "sampler/heap_profiler.h"

#include <atomic>
#include <cmath>
#include <compare>
#include <cstddef>
#include <map>
#include <mutex>
#include <utility>

#include <gperftools/malloc_extension.h>

#include "base/text.h"

// References into tcmalloc that a link without it leaves null. The first is
// MallocExtension::instance() by its mangled name: a member function cannot be declared weak a
// second time. Everything else goes through the object's vtable.
extern "C" MallocExtension* vigil_tcmalloc_instance() __asm__("_ZN15MallocExtension8instanceEv")
    __attribute__((weak));

// gperftools src/sampler.cc: DEFINE_int64(tcmalloc_sample_parameter, …) makes this name
// (base/commandlineflags.h).
namespace FLAG__namespace_do_not_use_directly_use_DECLARE_int64_instead {
extern std::int64_t FLAGS_tcmalloc_sample_parameter __attribute__((weak));
}

namespace vigil::sampler {
namespace {

constexpr std::int64_t kIntervalMin = 1024;
constexpr std::int64_t kIntervalMax = std::int64_t{1} << 30;

// tcmalloc reads the flag at each sampling point, without an atomic of its own.
std::atomic_ref<std::int64_t> sample_parameter() {
  using FLAG__namespace_do_not_use_directly_use_DECLARE_int64_instead::
      FLAGS_tcmalloc_sample_parameter;
  return std::atomic_ref<std::int64_t>(FLAGS_tcmalloc_sample_parameter);
}

bool tcmalloc_present() {
  using FLAG__namespace_do_not_use_directly_use_DECLARE_int64_instead::
      FLAGS_tcmalloc_sample_parameter;
  return vigil_tcmalloc_instance != nullptr && &FLAGS_tcmalloc_sample_parameter != nullptr;
}

// The sanitizer's check of the object's type would need MallocExtension's type information at link
// time.
#define VIGIL_NO_VPTR_CHECK __attribute__((no_sanitize("vptr")))

VIGIL_NO_VPTR_CHECK std::int64_t allocated_bytes() {
  std::size_t bytes = 0;
  vigil_tcmalloc_instance()->GetNumericProperty("generic.current_allocated_bytes", &bytes);
  return static_cast<std::int64_t>(bytes);
}

VIGIL_NO_VPTR_CHECK std::unique_ptr<void* []> read_stack_traces(int& interval) {
  return std::unique_ptr<void*[]>(vigil_tcmalloc_instance()->ReadStackTraces(&interval));
}

// The table of ReadStackTraces(): entries of [count, size, depth, depth addresses], ended by a
// count of 0, each word stored as a pointer (gperftools src/stack_trace_table.cc). Since
// gperftools 2.8 the count is always 1.
std::vector<HeapSample> samples_of(void* const* words) {
  const auto number = [](void* word) { return reinterpret_cast<std::uintptr_t>(word); };
  std::vector<HeapSample> samples;
  while (number(words[0]) != 0) {
    const std::size_t count = number(words[0]);
    const std::size_t depth = number(words[2]);
    HeapSample sample;
    sample.bytes = static_cast<std::int64_t>(number(words[1]));
    sample.frames.reserve(depth);
    for (std::size_t i = 0; i < depth; ++i) {
      sample.frames.push_back(FrameAddress::return_address(number(words[3 + i])));
    }
    for (std::size_t i = 1; i < count; ++i) samples.push_back(sample);
    samples.push_back(std::move(sample));
    words += 3 + depth;
  }
  return samples;
}

struct Group {
  std::vector<FrameAddress> frames;
  std::int64_t bytes = 0;
  friend auto operator<=>(const Group&, const Group&) = default;
};

}  // namespace

struct HeapProfiler::State {
  std::mutex mutex;          // guards all below
  std::int64_t found = 0;    // the switch at create()
  std::int64_t enabled = 0;  // what enable() set; 0: not ours
  std::int64_t bytes_before = 0;
};

HeapProfiler::HeapProfiler(std::unique_ptr<State> state) : state_(std::move(state)) {}

HeapProfiler::~HeapProfiler() { disable(); }

Result<std::unique_ptr<HeapProfiler>> HeapProfiler::create() {
  if (!tcmalloc_present()) {
    return Error(
        ErrorCode::kUnsupported,
        "the program does not run on tcmalloc, whose sampler a heap profile needs: link it "
        "with -ltcmalloc, or start it with LD_PRELOAD=libtcmalloc.so.4 (Debian package "
        "libgoogle-perftools4)");
  }
  auto state = std::make_unique<State>();
  state->found = sample_parameter().load(std::memory_order_relaxed);
  return std::unique_ptr<HeapProfiler>(new HeapProfiler(std::move(state)));
}

Result<void> HeapProfiler::enable(HeapProfilerOptions options) {
  if (options.interval_bytes < kIntervalMin || options.interval_bytes > kIntervalMax) {
    return Error(ErrorCode::kInvalidArgument,
                 "the heap sampling interval must be from 1 KiB to 1 GiB");
  }
  const std::lock_guard lock(state_->mutex);
  if (state_->found > 0) {
    return Error(ErrorCode::kBusy, "heap sampling is already on, every " +
                                       std::to_string(state_->found) +
                                       " bytes, by the program or by TCMALLOC_SAMPLE_PARAMETER");
  }
  if (state_->enabled == 0) state_->bytes_before = allocated_bytes();
  state_->enabled = options.interval_bytes;
  sample_parameter().store(options.interval_bytes, std::memory_order_relaxed);
  return {};
}

void HeapProfiler::disable() {
  const std::lock_guard lock(state_->mutex);
  if (state_->enabled == 0) return;
  sample_parameter().store(state_->found, std::memory_order_relaxed);
  state_->enabled = 0;
}

Result<StackProfile> HeapProfiler::snapshot(WallTime now) {
  const std::lock_guard lock(state_->mutex);
  int interval = 0;
  const std::unique_ptr<void*[]> table = read_stack_traces(interval);
  if (!table || interval <= 0) {
    return Error(ErrorCode::kUnsupported,
                 "heap sampling is off: enable it before asking for a profile");
  }
  StackProfile profile = heap_profile_from_samples(samples_of(table.get()), interval);
  profile.start = now;
  if (state_->bytes_before > 0)
    profile.counters["heap_bytes_before_sampling"] = state_->bytes_before;
  return profile;
}

StackProfile heap_profile_from_samples(const std::vector<HeapSample>& samples,
                                       std::int64_t interval_bytes) {
  StackProfile profile;
  profile.name = "heap";
  profile.sample_types = {{"inuse_objects", "count"}, {"inuse_space", "bytes"}};
  profile.default_sample_type = "inuse_space";
  profile.leaf_frames = LeafFrames::kWithoutAllocator;
  profile.period_type = {"space", "bytes"};
  profile.period = interval_bytes;

  std::map<Group, std::int64_t> groups;
  for (const HeapSample& sample : samples) ++groups[{sample.frames, sample.bytes}];
  for (const auto& [group, count] : groups) {
    double scale = 1;
    if (interval_bytes > 1 && group.bytes > 0) {
      scale =
          1 /
          (1 - std::exp(-static_cast<double>(group.bytes) / static_cast<double>(interval_bytes)));
    }
    const double objects = static_cast<double>(count) * scale;
    StackSample sample;
    sample.stack.frames = group.frames;
    sample.stack.end = StackEnd::kComplete;
    sample.values = {std::llround(objects),
                     std::llround(objects * static_cast<double>(group.bytes))};
    sample.labels = {{.key = "bytes", .text = {}, .number = group.bytes, .unit = "bytes"}};
    profile.samples.push_back(std::move(sample));
  }
  return profile;
}

}  // namespace vigil::sampler
