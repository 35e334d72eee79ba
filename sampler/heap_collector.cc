#include "sampler/heap_collector.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "base/signal_mask.h"
#include "sampler/registers.h"
#include "sampler/sigsafe/heap_recorder.h"
#include "sampler/sparse_memory.h"

// The dynamic loader's record of where the main thread's stack begins (glibc, GLIBC_2.2.5).
extern "C" void* __libc_stack_end;

namespace vigil::sampler {
namespace {

using sigsafe::heap_recorder;
using sigsafe::HeapSlot;

// A slot that nobody asked for waits this long at most.
constexpr auto kDrainEvery = std::chrono::seconds(60);
// The same while the interval is coarser than asked for: when it may come back.
constexpr auto kAdaptEvery = std::chrono::seconds(1);
// Samples that a second may have and has not had are there for a burst, of so many seconds' worth: a program that starts
// and fills its caches is seen at the interval that was asked for.
constexpr double kBurstSeconds = 30;
// Samples of less time say little of how many come in a second.
constexpr auto kAdaptAfter = std::chrono::milliseconds(20);
// Reading the module table costs some 0.1 ms.
constexpr auto kModulesAge = std::chrono::milliseconds(100);
constexpr auto kModulesAgeMax = std::chrono::milliseconds(2000);
using sigsafe::kFirstBucket;

// Made once, and kept: a thread may be writing to a slot at any time.
Result<void> make_slots() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (heap_recorder.slots.load() != nullptr) return {};
  constexpr std::size_t kStacks = sigsafe::kHeapSlots * sigsafe::kHeapStackMax;
  void* const memory = map_sparse(kStacks);
  if (memory == nullptr) {
    return Error(ErrorCode::kResourceExhausted, "no memory for the heap sampler's slots");
  }
  keep_sparse(&heap_recorder, sizeof(heap_recorder));
  static std::array<HeapSlot, sigsafe::kHeapSlots> slots;
  keep_sparse(slots.data(), sizeof(slots));
  heap_recorder.stacks.store(static_cast<std::byte*>(memory));
  heap_recorder.free_slots.set_all();
  heap_recorder.main_stack_end.store(reinterpret_cast<std::uintptr_t>(__libc_stack_end));
  // The child has no collector, and must not write into slots that its parent's thread may have been reading. It may have
  // a collector of its own, to which the slots that were being written are lost.
  ::pthread_atfork(nullptr, nullptr, [] {
    heap_recorder.interval.store(0);
    heap_recorder.owner.store(nullptr);
  });
  heap_recorder.slots.store(slots.data());
  return {};
}

// The middle of the sizes with that many bits: 2^(bits-1) to 2^bits - 1.
std::int64_t middle_of(std::size_t bits) {
  return bits < 2 ? static_cast<std::int64_t>(bits) : std::int64_t{3} << (bits - 2);
}

RegisterSet registers_of(const HeapSlot& slot) {
  RegisterSet registers;
  for (const Register reg : {Register::kRbx, Register::kRbp, Register::kRsp, Register::kR12,
                             Register::kR13, Register::kR14, Register::kR15, Register::kRip}) {
    registers.set(reg, slot.registers[static_cast<std::size_t>(reg)]);
  }
  return registers;
}

Stack walked_stack(const HeapSlot& slot) {
  Stack stack;
  for (std::uint32_t i = 0; i < slot.walked; ++i) {
    stack.frames.push_back(FrameAddress::return_address(slot.frames[i]));
  }
  // tcmalloc keeps at most one frame less than its limit.
  stack.end =
      slot.walked + 1 >= sigsafe::kWalkedFramesMax ? StackEnd::kTruncated : StackEnd::kComplete;
  return stack;
}

}  // namespace

std::size_t HeapCollector::KeyHash::operator()(const Key& key) const {
  std::uint64_t hash =
      static_cast<std::uint64_t>(key.bytes ^ key.interval_bytes << 20) * 0x9E3779B97F4A7C15u;
  for (const FrameAddress& frame : key.stack.frames) {
    hash = (hash ^ frame.raw()) * 0x100000001b3u;
    hash ^= hash >> 29;
  }
  return static_cast<std::size_t>(hash);
}

HeapCollector::HeapCollector(Modules& modules, Unwinder& unwinder)
    : modules_(modules),
      unwinder_(unwinder),
      numbering_(heap_recorder.last_ticket.fetch_add(1) + 1) {}

HeapCollector::~HeapCollector() { stop(); }

int interval_step(std::int64_t taken, std::chrono::nanoseconds elapsed,
                  std::int64_t per_second_max) {
  constexpr int kAllTheWay = -static_cast<int>(sigsafe::kShifts);
  if (taken == 0 || per_second_max == 0) return kAllTheWay;
  const double allowed =
      static_cast<double>(per_second_max) * std::chrono::duration<double>(elapsed).count();
  const double too_many = std::log2(static_cast<double>(taken) / allowed);
  if (too_many > 0) return static_cast<int>(std::ceil(too_many));
  return std::min(0, static_cast<int>(std::ceil(too_many)) + 1);
}

Result<void> HeapCollector::start(std::int64_t interval_bytes, std::int64_t per_second_max) {
  if (Result<void> made = make_slots(); !made) return made;
  const std::lock_guard thread_lock(thread_mutex_);
  const void* nobody = nullptr;
  const bool is_new = heap_recorder.owner.compare_exchange_strong(nobody, this);
  if (!is_new && nobody != this) {
    return Error(ErrorCode::kBusy, "the heap is sampled for somebody else in this process");
  }
  // Marks of a collector before this one would be taken for this one's.
  if (is_new && heap_recorder.numbering.exchange(numbering_) != numbering_) {
    heap_recorder.live.forget_buckets();
  }
  {
    const std::lock_guard lock(mutex_);
    if (interval_ != interval_bytes) {
      heap_recorder.interval.store(0);
      drain();
      counts_.assign(counts_.size(), 0);
      for (auto& row : heap_recorder.lost) {
        for (auto& lost : row) lost.store(0);
      }
    }
    interval_ = interval_bytes;
    per_second_max_ = per_second_max;
    shift_ = 0;
    taken_ = 0;
    unused_ = kBurstSeconds * static_cast<double>(per_second_max);
    adapted_ = std::chrono::steady_clock::now();
  }
  if (!thread_.joinable()) {
    stopping_ = false;
    try {
      const auto guard = SignalMaskGuard::program_signals();
      thread_ = std::thread([this] { run(); });
    } catch (const std::exception& error) {  // no thread, or no memory for one
      heap_recorder.owner.store(nullptr);
      return Error(ErrorCode::kResourceExhausted,
                   "no thread for the heap sampler: " + std::string(error.what()));
    }
    ::pthread_setname_np(thread_.native_handle(), "vigil-heap");
  }
  heap_recorder.base.store(static_cast<std::uint64_t>(interval_bytes));
  heap_recorder.interval.store(static_cast<std::uint64_t>(interval_bytes));
  return {};
}

void HeapCollector::stop() {
  const std::lock_guard thread_lock(thread_mutex_);
  if (!thread_.joinable()) return;
  heap_recorder.interval.store(0);
  stopping_ = true;
  sigsafe::wake_collector();
  thread_.join();
  heap_recorder.owner.store(nullptr);
}

void HeapCollector::run() {
  while (true) {
    const std::uint32_t seen = heap_recorder.wakes.load();
    bool is_coarser = false;
    try {
      const std::lock_guard lock(mutex_);
      drain();
      adapt(std::chrono::steady_clock::now());
      is_coarser = shift_ > 0;
    } catch (const std::bad_alloc&) {
      // What has not been taken is still in its slot, for the next time; what finds none is counted.
    }
    if (stopping_) return;
    const std::chrono::nanoseconds pause = is_coarser ? kAdaptEvery : kDrainEvery;
    sigsafe::wait_for_wake(seen, static_cast<std::uint64_t>(pause.count()));
  }
}

void HeapCollector::drain() {
  if (heap_recorder.slots.load() == nullptr || heap_recorder.done.load() == 0) return;
  refresh_modules();
  heap_recorder.done_slots.take_all([&](std::size_t number) {
    take_safely(number);
    heap_recorder.done.fetch_sub(1);
    heap_recorder.free_slots.set(number);
  });
}

// The interval in effect, never finer than what was asked for. Only while it is on: stop() has set it to 0.
void HeapCollector::adapt(std::chrono::steady_clock::time_point now) {
  const auto elapsed = now - adapted_;
  if (elapsed < kAdaptAfter) return;
  const std::int64_t taken = std::exchange(taken_, 0);
  adapted_ = now;
  const auto per_second = static_cast<double>(per_second_max_);
  unused_ +=
      per_second * std::chrono::duration<double>(elapsed).count() - static_cast<double>(taken);
  unused_ = std::clamp(unused_, -per_second, kBurstSeconds * per_second);
  int step = interval_step(taken, elapsed, per_second_max_);
  if (unused_ > 0) step = std::min(step, 0);
  auto in_effect = static_cast<std::uint64_t>(interval_) << shift_;
  shift_ = std::clamp(shift_ + step, 0, static_cast<int>(sigsafe::kShifts) - 1);
  heap_recorder.interval.compare_exchange_strong(in_effect, static_cast<std::uint64_t>(interval_)
                                                                << shift_);
}

// For libraries that were loaded since. On failure the old table serves on, and walks end at code it does not know.
void HeapCollector::refresh_modules() {
  const auto now = std::chrono::steady_clock::now();
  if (now - modules_read_ < (met_unknown_code_ ? kModulesAge : kModulesAgeMax)) return;
  (void)modules_.refresh();
  modules_read_ = now;
  met_unknown_code_ = false;
}

void HeapCollector::take(std::size_t number) {
  const HeapSlot& slot = heap_recorder.slots.load()[number];
  Key key;
  key.bytes = static_cast<std::int64_t>(slot.bytes);
  key.interval_bytes = interval_ << slot.shift;
  if (slot.walked != 0) {
    key.stack = walked_stack(slot);
    key.interval_bytes = 0;  // tcmalloc's
  } else {
    StackCopy copy;
    copy.base = slot.stack_base;
    copy.bytes = {sigsafe::stack_of(number), static_cast<std::size_t>(slot.stack_bytes)};
    copy.stack_end = slot.stack_end;
    key.stack = unwinder_.unwind(registers_of(slot), copy, kFramesMax);
    if (key.stack.end == StackEnd::kNoUnwindInfo) met_unknown_code_ = true;
  }
  std::uint64_t bucket = bucket_of(std::move(key));
  if (bucket == sigsafe::kBucketLost) {
    ++buckets_full_;
    bucket += slot.shift;
    heap_recorder.lost[slot.shift][sigsafe::size_bits(slot.bytes)].fetch_add(1);
  } else {
    ++counts_[bucket - kFirstBucket];
  }
  if (slot.object != nullptr) heap_recorder.live.set_bucket(slot.object, slot.ticket, bucket);
}

// Without memory for its stack a sample keeps its bytes in the profile, as one that found no slot.
void HeapCollector::take_safely(std::size_t number) noexcept {
  ++taken_;
  try {
    take(number);
  } catch (const std::exception&) {
    const HeapSlot& slot = heap_recorder.slots.load()[number];
    heap_recorder.lost[slot.shift][sigsafe::size_bits(slot.bytes)].fetch_add(1);
    if (slot.object == nullptr) return;
    heap_recorder.live.set_bucket(slot.object, slot.ticket, sigsafe::kBucketLost + slot.shift);
  }
}

std::uint64_t HeapCollector::bucket_of(Key key) {
  const auto found = numbers_.find(key);
  if (found != numbers_.end()) return found->second;
  if (numbers_.size() == kHeapBucketsMax) return sigsafe::kBucketLost;
  // The count first: there may be one more of them than numbers, never one less.
  if (counts_.size() == numbers_.size()) counts_.push_back(0);
  const std::uint64_t number = kFirstBucket + numbers_.size();
  numbers_.emplace(std::move(key), number);
  return number;
}

std::vector<HeapBucket> HeapCollector::buckets() {
  const std::lock_guard lock(mutex_);
  drain();
  std::vector<std::int64_t> alive(counts_.size());
  std::array<std::array<std::int64_t, sigsafe::kSizeBits>, sigsafe::kShifts> lost_alive{};
  heap_recorder.live.for_each([&](const sigsafe::LiveObject& object) {
    const std::uint64_t bucket = sigsafe::mark_bucket(object.mark);
    if (bucket == sigsafe::kBucketPending) return;  // sampled since the drain: in the next profile
    if (bucket < kFirstBucket) {
      ++lost_alive[bucket - sigsafe::kBucketLost][sigsafe::size_bits(object.bytes)];
    } else if (bucket - kFirstBucket < alive.size()) {
      ++alive[bucket - kFirstBucket];
    }
  });
  std::vector<HeapBucket> all;
  for (const auto& [key, number] : numbers_) {
    const std::size_t i = number - kFirstBucket;
    if (counts_[i] == 0 && alive[i] == 0) continue;
    all.push_back({key.stack, key.bytes, counts_[i], alive[i], key.interval_bytes});
  }
  for (std::size_t shift = 0; shift < sigsafe::kShifts; ++shift) {
    for (std::size_t bits = 0; bits < sigsafe::kSizeBits; ++bits) {
      const auto lost = static_cast<std::int64_t>(heap_recorder.lost[shift][bits].load());
      if (lost == 0 && lost_alive[shift][bits] == 0) continue;
      all.push_back({Stack(), middle_of(bits), lost, lost_alive[shift][bits],
                     shift == 0 ? 0 : interval_ << shift});
    }
  }
  return all;
}

HeapLoss HeapCollector::loss() const {
  const std::lock_guard lock(mutex_);
  HeapLoss loss;
  for (const auto& row : heap_recorder.lost) {
    for (const auto& lost : row) loss.samples_lost += static_cast<std::int64_t>(lost.load());
  }
  loss.samples_lost -= buckets_full_;
  loss.samples_untracked = static_cast<std::int64_t>(heap_recorder.untracked.load());
  loss.buckets_full = buckets_full_;
  return loss;
}

std::int64_t HeapCollector::interval_in_effect() const {
  return static_cast<std::int64_t>(heap_recorder.interval.load());
}

}  // namespace vigil::sampler
