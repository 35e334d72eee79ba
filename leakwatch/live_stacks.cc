#include "leakwatch/live_stacks.h"

namespace vigil::leakwatch {

std::vector<LiveStack> LiveStacks::capture(std::span<const pid_t> threads, MonotonicTime deadline) {
  return printable(collector_.capture(threads, deadline));
}

std::vector<LiveStack> LiveStacks::capture_all(MonotonicTime deadline) {
  return printable(collector_.capture_all(deadline));
}

std::vector<LiveStack> LiveStacks::printable(const std::vector<sampler::ThreadStack>& threads) {
  const auto table = modules_.current();
  std::vector<LiveStack> stacks;
  stacks.reserve(threads.size());
  for (const sampler::ThreadStack& thread : threads) {
    LiveStack& stack = stacks.emplace_back();
    stack.thread = thread.tid;
    stack.thread_name = thread.name;
    stack.state = sampler::wait_reason(thread);
    if (const sampler::LabelSet* own = thread.work.labels.get()) stack.labels = own->pairs;
    stack.failure = sampler::failure_sentence(thread.failure);
    stack.frames = sampler::text_frames(thread.stack, *table, &symbolizer_);
    stack.end = thread.stack.end;
  }
  return stacks;
}

}  // namespace vigil::leakwatch
