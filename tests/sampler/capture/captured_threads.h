// Threads in known positions, for tests that look at their stacks.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "sampler/address.h"
#include "sampler/module_table.h"
#include "sampler/signal_channel.h"
#include "sampler/thread_snapshot.h"
#include "sampler/unwinder.h"
#include "tests/sampler/frame_names.h"

namespace vigil::sampler {

// Exported functions that the tests look for, outermost first: test_outer calls test_middle calls
// `body`.
void test_outer(const std::function<void()>& body);
void test_middle(const std::function<void()>& body);

// Spins until `stop`, calling nothing.
void test_spin(const std::atomic<bool>& stop);

// Whether `stack` has test_middle directly below test_outer, both of them.
bool has_test_functions(const Stack& stack);

// The calling thread blocks all signals from here on, and says so in `blocked`, with a notification.
void block_signals(std::atomic<bool>& blocked);

// A thread that runs `body` under test_outer. Its constructor returns once the thread has its id;
// await_blocked() once it is asleep in `syscall_number`.
class TestThread {
 public:
  explicit TestThread(std::function<void()> body);
  ~TestThread() { join(); }

  pid_t tid() const { return tid_; }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  // False if it does not come to that within ten seconds.
  bool await_blocked(std::int64_t syscall_number) const;

 private:
  std::atomic<pid_t> tid_{0};
  std::thread thread_;
};

// Everything that a capture needs. Requires that the channel can be installed.
struct Sampling {
  explicit Sampling(SignalChannelOptions options = {});

  SystemClock clock;
  Modules modules;
  Unwinder unwinder{modules};
  std::unique_ptr<SignalChannel> channel;
  std::unique_ptr<StackCollector> collector;

  ThreadStack capture_one(pid_t tid, Duration within = std::chrono::seconds(5));
};

}  // namespace vigil::sampler
