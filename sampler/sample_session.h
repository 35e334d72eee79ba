// One CPU profile's part of the signal channel: a session that its timers name, and the samples
// that they left.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/result.h"
#include "sampler/labels.h"
#include "sampler/signal_channel.h"

namespace vigil::sampler {

// Owned by one collector thread; not thread-safe. Any number exist at once, up to
// sigsafe::kSessionsMax.
class SampleSession {
 public:
  // busy: kSessionsMax sessions are open.
  static Result<std::unique_ptr<SampleSession>> open(SignalChannel& channel);
  // Closes, and frees slots that were not drained.
  ~SampleSession();

  // What the timers must carry in si_value.
  std::uint64_t signal_value() const;

  // Calls `use(const sigsafe::Slot&)` for each sample of this session that is complete, and frees
  // its slot. The slot's labels are given back; work_of() keeps them.
  template <typename Use>
  void drain(Use&& use) {
    sigsafe::Tables& tables = channel_.tables();
    bool any_left = false;
    for (std::size_t word = 0; word * 64 < tables.samples.size(); ++word) {
      for (std::uint64_t left = tables.samples_done.word(word); left != 0; left &= left - 1) {
        const std::size_t number = word * 64 + static_cast<std::size_t>(std::countr_zero(left));
        if (!take(number, use)) any_left = true;  // another session's
      }
    }
    // The next handlers begin at the first slots again, whose memory is warm.
    if (!any_left) tables.sample_cursor.store(0, std::memory_order_relaxed);
  }

  // From now on late signals of this session are ignored. Delete the timers first, drain once more
  // after. Waits, at most about 100 ms, for handlers that are writing; if one does not end (its
  // thread is stopped), the session's index is not used again.
  void close();

  // Total weight of samples that found no free slot.
  std::uint64_t lost() const;

 private:
  SampleSession(SignalChannel& channel, std::uint32_t index, std::uint64_t generation);

  // Whether that slot had a sample of this session.
  template <typename Use>
  bool take(std::size_t number, Use&& use) {
    sigsafe::Tables& tables = channel_.tables();
    sigsafe::Slot& slot = tables.samples[number];
    if (slot.word.load(std::memory_order_acquire) != done_) return false;
    use(static_cast<const sigsafe::Slot&>(slot));
    release_labels(slot.work);
    tables.samples_done.remove(number);
    slot.move(sigsafe::SlotState::kDone, sigsafe::SlotState::kFree, index_);
    return true;
  }

  SignalChannel& channel_;
  std::uint32_t index_;
  std::uint64_t generation_;
  sigsafe::SlotWord done_;
  bool closed_ = false;
};

}  // namespace vigil::sampler
