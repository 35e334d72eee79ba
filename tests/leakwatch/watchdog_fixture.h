// A watchdog on a fake clock, for tests of what it says and when.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fake_clock.h"
#include "leakwatch/watchdog.h"
#include "tests/support/recording_sink.h"

namespace vigil::leakwatch::test {

// Answers every capture with one frame, and runs a hook first, so that a test can act while a
// capture is under way.
class FakeStacks final : public StackSource {
 public:
  std::function<void()> during_capture = [] {};
  std::size_t captured = 0;
  // Where the threads are: another number is another stack. `each_elsewhere` counts it up by itself.
  std::uintptr_t place = 81;
  bool each_elsewhere = false;
  sampler::WaitDetail wait = {};
  std::optional<Duration> cpu = {};
  std::optional<Duration> queued = {};

  std::vector<LiveStack> capture(std::span<const pid_t> threads, MonotonicTime) override {
    during_capture();
    std::vector<LiveStack> stacks;
    for (pid_t thread : threads) stacks.push_back(stack_of(thread));
    captured += threads.size();
    return stacks;
  }
  std::vector<LiveStack> capture_all(MonotonicTime) override { return {}; }
  std::vector<WaitEdge> lock_waits(std::span<const pid_t>) override { return {}; }

 private:
  LiveStack stack_of(pid_t thread) {
    if (each_elsewhere) ++place;
    LiveStack stack;
    stack.wait = wait;
    stack.cpu = cpu;
    stack.queued = queued;
    stack.thread = thread;
    stack.thread_name = "worker";
    stack.state = "futex wait";
    stack.frames = {
        {.function = "demo::wait_forever", .file = "/src/demo.cc", .line = 81, .address = place}};
    stack.end = sampler::StackEnd::kComplete;
    return stack;
  }
};

// A watchdog whose passes the test makes, on a clock that it sets.
struct WatchdogFixture {
  FakeClock clock;
  TaskRegistry registry{clock};
  FakeStacks stacks;
  RecordingSink sink;
  std::unique_ptr<Watchdog> watchdog;

  explicit WatchdogFixture(WatchdogOptions options = {.threshold = std::chrono::seconds(1)}) {
    watchdog = *Watchdog::create(options, registry, stacks, sink, clock);
  }
  void step() { watchdog->step(clock.now()); }
};

}  // namespace vigil::leakwatch::test
