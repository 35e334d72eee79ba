// Monitor: notices a handler that was trusted to be short and is not, and lets another thread poll
// (cf. Go's sysmon).
//
// Ticks every kTick while handlers run inline, and sleeps without a timeout when none has for
// kQuietTicks. A handler that is seen at two ticks in a row has run for kTick to two of them. If its
// thread is blocked, another polls from then on: that bounds what other connections can lose. If it
// computes, or waits for a processor, it gets kRunningTicks: where there are more runnable threads
// than processors it has mostly just been preempted, and one more thread would only compete with it.
//
// Its thread is the Balancer's, too: while a poller is busy it goes on waking up for that, ten times a
// second, even where no handler runs inline.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace vigil::http {

class Engine;

class Monitor {
 public:
  static constexpr Duration kTick = std::chrono::milliseconds(1);
  static constexpr int kQuietTicks = 16;
  static constexpr int kRunningTicks = 5;

  explicit Monitor(Engine& engine) : engine_(engine) {}
  ~Monitor() { stop(); }

  Result<void> start();
  void stop();

  // By a leader, after it has announced an inline handler, or has had newcomers. Costs one load unless
  // the monitor sleeps.
  void notice_work() {
    if (asleep_.load(std::memory_order_seq_cst)) wake();
  }

 private:
  void run();
  // A poller's turn as the last tick saw it, and for how many ticks in a row.
  struct Seen {
    std::uint64_t turn = 0;
    int ticks = 0;
  };

  // One look at every poller. true if anything ran inline since the last one.
  bool step();
  void sleep(std::unique_lock<std::mutex>& lock);
  void wake();

  Engine& engine_;
  std::atomic<bool> asleep_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;   // guarded by mutex_
  std::vector<Seen> seen_;  // of each poller
  std::string name_;        // of the thread
  std::thread thread_;
};

}  // namespace vigil::http
