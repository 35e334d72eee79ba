// TimeoutPool: the threads on which handlers with a timeout run (handler_timeout.h).
//
// A handler is an ordinary blocking function and nothing can stop it from outside. So one that has
// a timeout runs on a thread of its own, and when its time is up the client is answered and the
// thread is left to it until it returns. The pool bounds how many such threads there can be.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "leakwatch/task_registry.h"
#include "server-core/server_stats.h"

namespace vigil::http {

struct TimeoutPoolOptions {
  // Handlers with a timeout that run at once, those that have leaked past it included. A request
  // beyond it gets 503. 1 to 100,000.
  std::size_t threads_max = 256;
  // Idle threads that are kept for good; more than these end after kSurplusThreadTime without work.
  std::size_t idle_threads_max = 16;
  static constexpr Duration kSurplusThreadTime = std::chrono::seconds(5);
};

// Thread-safe. Must outlive the handlers that use it, as must `registry`, `sink` and `clock`.
class TimeoutPool {
 public:
  TimeoutPool(leakwatch::TaskRegistry& registry, LogSink& sink, Clock& clock,
              TimeoutPoolOptions options = {});
  // Waits for every handler in it, also those that have leaked: their threads use what the program
  // is about to destroy. A program that will not wait leaves with _exit() when leaked() is not
  // empty.
  ~TimeoutPool();
  TimeoutPool(const TimeoutPool&) = delete;
  TimeoutPool& operator=(const TimeoutPool&) = delete;

  struct Stats {
    std::uint64_t calls = 0;      // handlers begun
    std::uint64_t timed_out = 0;  // of these, answered with 503 at their deadline
    std::uint64_t refused = 0;    // 503 because no thread was free
    std::uint64_t running = 0;    // now
    std::uint64_t leaked = 0;     // of these, past their timeout
  };
  Stats stats() const;

  // The handlers that go on past their timeout now.
  std::vector<RunningHandler> leaked() const;

  // Waits until none goes on past its timeout, or until `deadline`; those that still do. For a
  // shutdown, after the servers.
  std::vector<RunningHandler> drain(MonotonicTime deadline);

  leakwatch::TaskRegistry& registry() const { return registry_; }
  const Logger& log() const { return log_; }
  Clock& clock() const { return clock_; }

  // --- For handler_timeout().

  // Runs `job` on a thread of the pool. false, and counted, if there is none.
  [[nodiscard]] bool run(std::function<void()> job);
  // The job that `key` names has passed its timeout / has returned after that.
  void add_leaked(const void* key, RunningHandler handler, MonotonicTime started);
  void remove_leaked(const void* key);

 private:
  using Threads = std::list<std::thread>;

  void thread_main(Threads::iterator self);
  bool wait_for_job(std::unique_lock<std::mutex>& lock);
  bool start_thread_locked();
  void join_ended(std::unique_lock<std::mutex>& lock);

  leakwatch::TaskRegistry& registry_;
  const Logger log_;
  Clock& clock_;
  const TimeoutPoolOptions options_;

  struct Leaked {
    RunningHandler handler;
    MonotonicTime started;
  };

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable work_;
  std::condition_variable thread_ended_;
  std::condition_variable leaked_ended_;
  std::deque<std::function<void()>> jobs_;  // at most one for each idle thread
  Threads threads_;
  Threads ended_;  // to be joined
  std::size_t idle_ = 0;
  bool stopping_ = false;
  std::unordered_map<const void*, Leaked> leaked_;
  Stats stats_;
};

}  // namespace vigil::http
