#include "sampler/trace/trace_buffer.h"

#include <sys/mman.h>
#include <time.h>

#include <bit>
#include <mutex>
#include <new>
#include <utility>

#include "base/thread_id.h"

namespace vigil::sampler {
namespace {

using Words = std::array<std::uint64_t, kTraceEventWords>;

}  // namespace

void TraceRing::emit(const TraceEvent& event) noexcept {
  const std::uint64_t position = next_.fetch_add(1, std::memory_order_acq_rel);
  TraceSlot& slot = slots_[position % slots_.size()];
  std::uint64_t sequence = slot.sequence.load(std::memory_order_relaxed);
  // Another writer is still at it, a lap behind, or has overtaken us by one: whoever reads counts
  // the position as lost.
  if (sequence % 2 != 0 || sequence > 2 * position) return;
  if (!slot.sequence.compare_exchange_strong(sequence, 2 * position + 1,
                                             std::memory_order_acq_rel)) {
    return;
  }
  const Words words = std::bit_cast<Words>(event);
  for (std::size_t i = 0; i < words.size(); ++i) {
    slot.words[i].store(words[i], std::memory_order_release);
  }
  slot.sequence.store(2 * position + 2, std::memory_order_release);
}

TraceRing::Look TraceRing::read(std::uint64_t position, TraceEvent& into) const {
  const TraceSlot& slot = slots_[position % slots_.size()];
  const std::uint64_t whole = 2 * position + 2;
  const std::uint64_t before = slot.sequence.load(std::memory_order_acquire);
  if (before < whole) return Look::kPending;
  if (before > whole) return Look::kLost;
  Words words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = slot.words[i].load(std::memory_order_acquire);
  }
  if (slot.sequence.load(std::memory_order_acquire) != whole) return Look::kLost;
  into = std::bit_cast<TraceEvent>(words);
  return Look::kWhole;
}

TraceReader::TraceReader(std::span<const TraceRing> rings) : rings_(rings) {
  for (const TraceRing& ring : rings_) positions_.push_back(ring.next());
}

bool TraceReader::next_of(std::size_t number, Unfinished unfinished, TraceEvent& into) {
  const TraceRing& ring = rings_[number];
  std::uint64_t& position = positions_[number];
  const std::uint64_t end = ring.next();
  if (end - position > ring.capacity()) {
    lost_ += end - position - ring.capacity();
    position = end - ring.capacity();
  }
  while (position < end) {
    const TraceRing::Look look = ring.read(position, into);
    const bool may_wait = unfinished == Unfinished::kWait && end - position <= ring.capacity() / 2;
    if (look == TraceRing::Look::kPending && may_wait) return false;
    ++position;
    if (look == TraceRing::Look::kWhole) return true;
    ++lost_;
  }
  return false;
}

namespace trace {

constinit std::atomic<Rings*> active{nullptr};

struct Rings {
  explicit Rings(TraceSlot* slots) : Rings(slots, std::make_index_sequence<kTraceRings>()) {}

  std::array<TraceRing, kTraceRings> rings;
  void* const memory;

 private:
  template <std::size_t... kIndex>
  Rings(TraceSlot* slots, std::index_sequence<kIndex...>)
      : rings{TraceRing(std::span(slots + kIndex * kTraceSlotsPerRing, kTraceSlotsPerRing))...},
        memory(slots) {}
};

namespace {

constinit std::mutex mutex;
constinit Rings* made = nullptr;      // guarded by mutex; never freed
constinit std::size_t recorders = 0;  // guarded by mutex
constinit std::atomic<std::uint64_t> last_id{0};

constexpr std::size_t kBytes = kTraceRings * kTraceSlotsPerRing * sizeof(TraceSlot);

Rings* make_rings() {
  // Zero as the kernel gives it, and not touched here: what is never used costs nothing.
  void* const memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* const rings = new (std::nothrow) Rings(static_cast<TraceSlot*>(memory));
  if (rings == nullptr) ::munmap(memory, kBytes);
  return rings;
}

}  // namespace

void emit(TraceEvent event) noexcept {
  Rings* const rings = active.load(std::memory_order_acquire);
  if (rings == nullptr) return;
  event.thread = current_thread_id();
  rings->rings[static_cast<std::size_t>(event.thread) % kTraceRings].emit(event);
}

std::int64_t now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::uint64_t new_id() noexcept { return last_id.fetch_add(1, std::memory_order_relaxed) + 1; }

Result<Recording> Recording::start() {
  const std::lock_guard lock(mutex);
  if (made == nullptr) made = make_rings();
  if (made == nullptr) return Error(ErrorCode::kResourceExhausted, "no memory for a trace's rings");
  ++recorders;
  active.store(made, std::memory_order_release);
  return Recording(made);
}

Recording::~Recording() {
  if (rings_ == nullptr) return;
  const std::lock_guard lock(mutex);
  if (--recorders > 0) return;
  active.store(nullptr, std::memory_order_release);
  // A thread that is still inside emit() writes to a page of zeros then, at a position that is
  // older than any later reader.
  ::madvise(rings_->memory, kBytes, MADV_DONTNEED);
}

std::span<const TraceRing> Recording::rings() const { return rings_->rings; }

}  // namespace trace
}  // namespace vigil::sampler
