#include "leakwatch/live_stacks.h"

#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "sampler/stack_counter.h"

namespace vigil::leakwatch {
namespace {

// The witness is read before the call: a thread that has run since is caught by the next look.
std::optional<WaitEdge> edge_of(pid_t thread) {
  auto call = sampler::read_thread_syscall(thread);
  if (!call || !sampler::lock_wait(*call)) return std::nullopt;
  const auto witness = sampler::read_run_witness(thread);
  if (!witness) return std::nullopt;
  call = sampler::read_thread_syscall(thread);
  if (!call) return std::nullopt;
  const auto wait = sampler::lock_wait(*call);
  if (!wait) return std::nullopt;
  return WaitEdge{thread, wait->owner, wait->object, *witness};
}

}  // namespace

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
  std::unordered_map<sampler::Stack, SharedFrames, sampler::StackHash> known;
  for (const sampler::ThreadStack& thread : threads) {
    LiveStack& stack = stacks.emplace_back();
    stack.thread = thread.tid;
    stack.thread_name = thread.name;
    stack.state = sampler::wait_reason(thread);
    if (const sampler::LabelSet* own = thread.work.labels.get()) stack.labels = own->pairs;
    stack.failure = sampler::failure_sentence(thread.failure);
    const auto [frames, is_new] = known.try_emplace(thread.stack);
    if (is_new) frames->second = sampler::text_frames(thread.stack, *table, &symbolizer_);
    stack.frames = frames->second;
    stack.end = thread.stack.end;
    stack.wait = sampler::wait_detail(thread, stack.frames);
    stack.raw = thread.stack;
    const auto times = thread.times ? thread.times : sampler::read_thread_times(thread.tid);
    if (times) {
      stack.cpu = times->on_cpu;
      stack.queued = times->queued;
    }
  }
  return stacks;
}

std::vector<WaitEdge> LiveStacks::lock_waits(std::span<const pid_t> threads) {
  std::vector<WaitEdge> edges;
  std::vector<pid_t> to_look(threads.rbegin(), threads.rend());
  std::unordered_set<pid_t> looked;
  while (!to_look.empty()) {
    const pid_t thread = to_look.back();
    to_look.pop_back();
    if (!looked.insert(thread).second) continue;
    const auto edge = edge_of(thread);
    if (!edge) continue;
    edges.push_back(*edge);
    to_look.push_back(edge->owner);
  }
  return edges;
}

}  // namespace vigil::leakwatch
