#include "sampler/heap_collector.h"

#include <pthread.h>
#include <sys/mman.h>

#include <array>
#include <chrono>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "base/signal_mask.h"
#include "sampler/registers.h"
#include "sampler/sigsafe/heap_recorder.h"

// The dynamic loader's record of where the main thread's stack begins (glibc, GLIBC_2.2.5).
extern "C" void* __libc_stack_end;

namespace vigil::sampler {
namespace {

using sigsafe::heap_recorder;
using sigsafe::HeapSlot;
using sigsafe::HeapSlotState;

// A slot that nobody asked for waits this long at most.
constexpr auto kDrainEvery = std::chrono::seconds(60);
// Reading the module table costs some 0.1 ms.
constexpr auto kModulesAge = std::chrono::milliseconds(100);
constexpr auto kModulesAgeMax = std::chrono::milliseconds(2000);
constexpr std::uint64_t kFirstBucket = sigsafe::kBucketLost + 1;

// Made once, and kept: a thread may be writing to a slot at any time.
Result<void> make_slots() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (heap_recorder.slots.load() != nullptr) return {};
  constexpr std::size_t kStacks = sigsafe::kHeapSlots * sigsafe::kHeapStackMax;
  void* memory = ::mmap(nullptr, kStacks, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return Error(ErrorCode::kResourceExhausted, "no memory for the heap sampler's slots");
  }
  static std::array<HeapSlot, sigsafe::kHeapSlots> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    slots[i].stack = static_cast<std::byte*>(memory) + i * sigsafe::kHeapStackMax;
  }
  heap_recorder.main_stack_end.store(reinterpret_cast<std::uintptr_t>(__libc_stack_end));
  // The child has no collector, and must not write into slots that its parent's thread may have been reading. It may have
  // a collector of its own, to which the slots in kWriting are lost.
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
  std::uint64_t hash = static_cast<std::uint64_t>(key.bytes) * 0x9E3779B97F4A7C15u;
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

Result<void> HeapCollector::start(std::int64_t interval_bytes) {
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
      for (auto& lost : heap_recorder.lost) lost.store(0);
    }
    interval_ = interval_bytes;
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
    try {
      const std::lock_guard lock(mutex_);
      drain();
    } catch (const std::bad_alloc&) {
      // What has not been taken is still in its slot, for the next time; what finds none is counted.
    }
    if (stopping_) return;
    sigsafe::wait_for_wake(
        seen, static_cast<std::uint64_t>(std::chrono::nanoseconds(kDrainEvery).count()));
  }
}

void HeapCollector::drain() {
  HeapSlot* slots = heap_recorder.slots.load();
  if (slots == nullptr || heap_recorder.done.load() == 0) return;
  refresh_modules();
  for (std::size_t i = 0; i < sigsafe::kHeapSlots; ++i) {
    HeapSlot& slot = slots[i];
    if (slot.state.load() != HeapSlotState::kDone) continue;
    take(slot);
    heap_recorder.done.fetch_sub(1);
    slot.state.store(HeapSlotState::kFree);
  }
}

// For libraries that were loaded since. On failure the old table serves on, and walks end at code it does not know.
void HeapCollector::refresh_modules() {
  const auto now = std::chrono::steady_clock::now();
  if (now - modules_read_ < (met_unknown_code_ ? kModulesAge : kModulesAgeMax)) return;
  (void)modules_.refresh();
  modules_read_ = now;
  met_unknown_code_ = false;
}

void HeapCollector::take(const HeapSlot& slot) {
  Key key;
  key.bytes = static_cast<std::int64_t>(slot.bytes);
  if (slot.walked != 0) {
    key.stack = walked_stack(slot);
  } else {
    StackCopy copy;
    copy.base = slot.stack_base;
    copy.bytes = {slot.stack, static_cast<std::size_t>(slot.stack_bytes)};
    copy.stack_end = slot.stack_end;
    key.stack = unwinder_.unwind(registers_of(slot), copy, kFramesMax);
    if (key.stack.end == StackEnd::kNoUnwindInfo) met_unknown_code_ = true;
  }
  const std::uint64_t bucket = bucket_of(std::move(key));
  if (bucket == sigsafe::kBucketLost) {
    ++buckets_full_;
    heap_recorder.lost[sigsafe::size_bits(slot.bytes)].fetch_add(1);
  } else {
    ++counts_[bucket - kFirstBucket];
  }
  if (slot.object != nullptr) heap_recorder.live.set_bucket(slot.object, slot.ticket, bucket);
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
  std::array<std::int64_t, sigsafe::kSizeBits> lost_alive{};
  heap_recorder.live.for_each([&](const sigsafe::LiveObject& object) {
    const std::uint64_t bucket = sigsafe::mark_bucket(object.mark);
    if (bucket == sigsafe::kBucketLost) ++lost_alive[sigsafe::size_bits(object.bytes)];
    // One that was sampled since the drain is in the next profile.
    if (bucket >= kFirstBucket && bucket - kFirstBucket < alive.size())
      ++alive[bucket - kFirstBucket];
  });
  std::vector<HeapBucket> all;
  for (const auto& [key, number] : numbers_) {
    const std::size_t i = number - kFirstBucket;
    if (counts_[i] == 0 && alive[i] == 0) continue;
    all.push_back({key.stack, key.bytes, counts_[i], alive[i]});
  }
  for (std::size_t bits = 0; bits < sigsafe::kSizeBits; ++bits) {
    const auto lost = static_cast<std::int64_t>(heap_recorder.lost[bits].load());
    if (lost == 0 && lost_alive[bits] == 0) continue;
    all.push_back({Stack(), middle_of(bits), lost, lost_alive[bits]});
  }
  return all;
}

HeapLoss HeapCollector::loss() const {
  const std::lock_guard lock(mutex_);
  HeapLoss loss;
  for (const auto& lost : heap_recorder.lost)
    loss.samples_lost += static_cast<std::int64_t>(lost.load());
  loss.samples_lost -= buckets_full_;
  loss.samples_untracked = static_cast<std::int64_t>(heap_recorder.untracked.load());
  loss.buckets_full = buckets_full_;
  return loss;
}

}  // namespace vigil::sampler
