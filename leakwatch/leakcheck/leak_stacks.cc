#include "leakwatch/leakcheck/leak_stacks.h"

#include <algorithm>

#include "leakwatch/live_stacks.h"
#include "sampler/module_table.h"
#include "sampler/signal_channel.h"
#include "sampler/symbolizer.h"
#include "sampler/thread_snapshot.h"
#include "sampler/unwinder.h"

namespace vigil::leakwatch {
namespace {

constexpr Duration kCaptureTimeout = std::chrono::seconds(2);

// A task on the test's own thread: what is above the test is the check itself.
void drop_own_frames(std::vector<sampler::TextFrame>& frames) {
  constexpr std::string_view kOutermostOfOurs = "vigil::leakwatch::LeakCheck::finish";
  const auto ours = std::find_if(frames.begin(), frames.end(), [](const sampler::TextFrame& frame) {
    return frame.function == kOutermostOfOurs;
  });
  if (ours != frames.end()) frames.erase(frames.begin(), ours + 1);
}

}  // namespace

struct LeakCheck::Stacks::Sampler {
  sampler::Modules modules;
  sampler::Unwinder unwinder{modules};
  std::unique_ptr<sampler::Symbolizer> symbolizer;  // null: addresses only
  std::unique_ptr<sampler::SignalChannel> channel;
  std::unique_ptr<sampler::StackCollector> collector;
  std::unique_ptr<LiveStacks> stacks;
};

LeakCheck::Stacks::Stacks(StackSource* given, Clock& clock)
    : clock_(clock), source_(given), sampler_(std::make_unique<Sampler>()) {
  if (auto table = sampler_->modules.refresh(); !table) absent_ = table.error().message();
  auto symbolizer = sampler::Symbolizer::create({});
  if (symbolizer) {
    sampler_->symbolizer = *std::move(symbolizer);
  } else {
    absent_ = "names of functions: " + symbolizer.error().message();
  }
  if (source_ == nullptr && sampler_->symbolizer != nullptr) make_source();
}

LeakCheck::Stacks::~Stacks() = default;

void LeakCheck::Stacks::make_source() {
  auto channel = sampler::SignalChannel::install({});
  if (!channel) {
    absent_ = "current stacks: " + channel.error().message() +
              " (give the check the program's own StackSource)";
    return;
  }
  sampler_->channel = *std::move(channel);
  auto collector = sampler::StackCollector::create({}, clock_, sampler_->modules,
                                                   sampler_->unwinder, *sampler_->channel);
  if (!collector) {
    absent_ = "current stacks: " + collector.error().message();
    return;
  }
  sampler_->collector = *std::move(collector);
  sampler_->stacks =
      std::make_unique<LiveStacks>(*sampler_->collector, sampler_->modules, *sampler_->symbolizer);
  source_ = sampler_->stacks.get();
}

void LeakCheck::Stacks::capture(std::vector<Leak>& leaks) {
  std::vector<pid_t> threads;
  for (const Leak& leak : leaks) {
    if (leak.resource.thread != 0) threads.push_back(leak.resource.thread);
  }
  if (threads.empty() || source_ == nullptr) return;
  auto stacks = source_->capture(threads, clock_.now() + kCaptureTimeout);
  std::size_t next = 0;
  for (Leak& leak : leaks) {
    if (leak.resource.thread == 0) continue;
    leak.now = std::move(stacks[next++]);
    std::vector<sampler::TextFrame> frames(leak.now.frames.begin(), leak.now.frames.end());
    drop_own_frames(frames);
    leak.now.frames = std::move(frames);
  }
}

void LeakCheck::Stacks::symbolize(Leak& leak) {
  if (!leak.resource.creation) return;
  const sampler::Stack& stack = leak.resource.creation->stack;
  leak.created =
      sampler::text_frames(stack, *sampler_->modules.current(), sampler_->symbolizer.get());
  leak.created_end = stack.end;
}

std::vector<Leak> LeakCheck::Stacks::look_up(std::vector<Resource> found) {
  // A library may have been loaded since.
  (void)sampler_->modules.refresh();
  std::vector<Leak> leaks;
  for (Resource& resource : found) leaks.push_back({.resource = std::move(resource)});
  capture(leaks);
  for (Leak& leak : leaks) symbolize(leak);
  return leaks;
}

}  // namespace vigil::leakwatch
