// ThreadPool: the engine's threads. Any of them can lead a poller or run a handler; the pool keeps
// the idle ones.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server-core/counters.h"
#include "server-core/server_stats.h"

namespace vigil::http {

class Engine;
class EngineThread;
class Poller;

// What a leader reads into (EngineThread::kScratchBytes).
using ReadBuffer = std::unique_ptr<char[]>;

// Thread-safe.
class ThreadPool {
 public:
  explicit ThreadPool(Engine& engine);
  ~ThreadPool();

  // An idle thread, or a new one, for the caller alone: give it to run() or put_back(). nullptr if
  // options.max_threads is reached or the system has no more. `role` names a new thread: "poll" or
  // "work". If it has no buffer to read into yet, it gets `buffer`, where there is one to give away.
  EngineThread* take(const char* role, ReadBuffer* buffer = nullptr);
  // Lets `thread` lead `poller`.
  void run(EngineThread& thread, Poller& poller);
  void put_back(EngineThread& thread);

  // Called by a thread that has nothing to do. Returns the poller that it shall lead, or nullptr if
  // it shall end: because the pool stops, or it had nothing to do for
  // ServerOptions::kSurplusThreadTime and enough others are idle.
  Poller* wait_for_work(EngineThread& thread);
  // Called by a thread as the last thing.
  void thread_ended(EngineThread& thread);

  // Ends all threads that are idle, and the others when they come back; waits for them.
  void stop_and_join();

  std::size_t size() const;
  // The sum over all threads, ended ones included.
  std::int64_t sum(Counter counter) const;
  // For counts of threads that are not the engine's (shutdown, monitor); takes the pool's lock.
  void add(Counter counter, std::int64_t n = 1);
  // The handlers that run now, oldest first.
  std::vector<RunningHandler> running_handlers() const;

 private:
  void reap_ended(std::unique_lock<std::mutex>& lock);
  EngineThread* spawn(const char* role, ReadBuffer* buffer);

  Engine& engine_;
  mutable std::mutex mutex_;
  // All guarded by mutex_.
  std::vector<std::unique_ptr<EngineThread>> threads_;
  std::vector<EngineThread*>
      idle_;  // the last one in is the first one out: its stack and caches are warm
  std::vector<EngineThread*> ended_;  // to be joined
  CounterSet retired_;
  std::size_t spawned_ = 0;
  bool stopping_ = false;
};

}  // namespace vigil::http
