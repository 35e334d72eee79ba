#include "sampler/resting_threads.h"

#include <utility>

namespace vigil::sampler {

const ThreadStack* RestingThreads::find(pid_t tid, const Moment& now) {
  const auto found = threads_.find(tid);
  if (found == threads_.end() || found->second.moment != now) return nullptr;
  found->second.asked = capture_;
  return &found->second.thread;
}

void RestingThreads::keep(const ThreadStack& thread, const Moment& now) {
  if (thread.step != CaptureStep::kSignalFree || thread.failure != CaptureFailure::kNone) return;
  // Whole before it is kept: where there is no memory for a copy, what was known stays.
  ThreadStack copy = thread;
  copy.work = {};  // would keep its labels alive
  Entry& entry = threads_[thread.tid];
  entry.thread = std::move(copy);
  entry.moment = now;
  entry.asked = capture_;
}

void RestingThreads::begin_capture(const ModuleTable* modules) {
  ++capture_;
  if (std::exchange(modules_, modules) != modules) threads_.clear();
}

void RestingThreads::end_capture(std::size_t threads) {
  if (threads_.size() <= 2 * threads + kSpare) return;
  std::erase_if(threads_, [this](const auto& entry) { return entry.second.asked != capture_; });
}

}  // namespace vigil::sampler
