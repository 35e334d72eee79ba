// LiveStacks: the StackSource of a real process, made of the sampler's parts.
#pragma once

#include "leakwatch/stack_source.h"
#include "sampler/module_table.h"
#include "sampler/symbolizer.h"
#include "sampler/thread_snapshot.h"

namespace vigil::leakwatch {

// Thread-safe, as its parts are. All must outlive it. Cost: a capture (see sampler::StackCollector)
// and a symbol look-up for each frame; threads with equal stacks find theirs in the symbolizer's
// cache.
class LiveStacks final : public StackSource {
 public:
  LiveStacks(sampler::StackCollector& collector, sampler::Modules& modules,
             sampler::Symbolizer& symbolizer)
      : collector_(collector), modules_(modules), symbolizer_(symbolizer) {}

  std::vector<LiveStack> capture(std::span<const pid_t> threads, MonotonicTime deadline) override;
  std::vector<LiveStack> capture_all(MonotonicTime deadline) override;
  // Cost: 5 us a thread, 15 us one that waits for a mutex.
  std::vector<WaitEdge> lock_waits(std::span<const pid_t> threads) override;

 private:
  std::vector<LiveStack> printable(const std::vector<sampler::ThreadStack>& threads);

  sampler::StackCollector& collector_;
  sampler::Modules& modules_;
  sampler::Symbolizer& symbolizer_;
};

}  // namespace vigil::leakwatch
