#include "server-core/timeout_pool.h"

#include <pthread.h>

#include <cassert>
#include <exception>

#include "base/signal_mask.h"
#include "sampler/own_wait.h"

namespace vigil::http {

TimeoutPool::TimeoutPool(leakwatch::TaskRegistry& registry, LogSink& sink, Clock& clock,
                         TimeoutPoolOptions options)
    : registry_(registry), log_(sink, "timeout"), clock_(clock), options_(options) {
  assert(options.threads_max >= 1 && options.threads_max <= 100'000);
}

TimeoutPool::~TimeoutPool() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  work_.notify_all();
  thread_ended_.wait(lock, [&] { return threads_.empty(); });
  join_ended(lock);
}

bool TimeoutPool::run(std::function<void()> job) {
  std::unique_lock lock(mutex_);
  join_ended(lock);
  if (idle_ <= jobs_.size() && !start_thread_locked()) {
    ++stats_.refused;
    return false;
  }
  ++stats_.calls;
  jobs_.push_back(std::move(job));
  work_.notify_one();
  return true;
}

// The new thread counts as idle at once, so that nobody else takes it for the job it is started
// for.
bool TimeoutPool::start_thread_locked() {
  if (threads_.size() >= options_.threads_max) return false;
  const SignalMaskGuard mask = SignalMaskGuard::program_signals();
  const auto self = threads_.emplace(threads_.end());
  try {
    *self = std::thread([this, self] { thread_main(self); });
  } catch (const std::exception&) {  // no thread, or no memory for one
    threads_.erase(self);
    return false;
  }
  ++idle_;
  return true;
}

void TimeoutPool::thread_main(Threads::iterator self) {
  pthread_setname_np(pthread_self(), "vigil-timed");
  std::unique_lock lock(mutex_);
  // Also when a handler is cancelled or calls pthread_exit(), which unwinds through here.
  struct Leaving {
    TimeoutPool& pool;
    Threads::iterator self;
    std::unique_lock<std::mutex>& lock;
    ~Leaving() {
      if (!lock.owns_lock()) lock.lock();
      pool.ended_.splice(pool.ended_.end(), pool.threads_, self);
      pool.thread_ended_.notify_all();
      lock.unlock();
    }
  } leaving{*this, self, lock};
  while (wait_for_job(lock)) {
    {
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
    }
    lock.lock();
    ++idle_;
  }
}

// The thread counts as idle until this returns. false: it shall end.
bool TimeoutPool::wait_for_job(std::unique_lock<std::mutex>& lock) {
  const bool surplus = idle_ > options_.idle_threads_max;
  const MonotonicTime ends_at =
      surplus ? clock_.now() + TimeoutPoolOptions::kSurplusThreadTime : kNoDeadline;
  const sampler::OwnWait idle;
  while (!stopping_ && jobs_.empty()) {
    if (!surplus) {
      work_.wait(lock);
    } else if (clock_.now() < ends_at) {
      clock_.wait_until(lock, work_, ends_at);
    } else {
      break;
    }
  }
  --idle_;
  return !jobs_.empty();
}

void TimeoutPool::join_ended(std::unique_lock<std::mutex>& lock) {
  if (ended_.empty()) return;
  Threads ended;
  ended.swap(ended_);
  lock.unlock();
  for (std::thread& thread : ended) thread.join();
  lock.lock();
}

void TimeoutPool::add_leaked(const void* key, RunningHandler handler, MonotonicTime started) {
  std::lock_guard lock(mutex_);
  ++stats_.timed_out;
  leaked_.emplace(key, Leaked{std::move(handler), started});
}

void TimeoutPool::remove_leaked(const void* key) {
  std::lock_guard lock(mutex_);
  leaked_.erase(key);
  leaked_ended_.notify_all();
}

TimeoutPool::Stats TimeoutPool::stats() const {
  std::lock_guard lock(mutex_);
  Stats stats = stats_;
  stats.running = threads_.size() - idle_ + jobs_.size();
  stats.leaked = leaked_.size();
  return stats;
}

std::vector<RunningHandler> TimeoutPool::leaked() const {
  const MonotonicTime now = clock_.now();
  std::lock_guard lock(mutex_);
  std::vector<RunningHandler> handlers;
  for (const auto& [key, leaked] : leaked_) {
    handlers.push_back(leaked.handler);
    handlers.back().age = now - leaked.started;
  }
  return handlers;
}

std::vector<RunningHandler> TimeoutPool::drain(MonotonicTime deadline) {
  {
    std::unique_lock lock(mutex_);
    while (!leaked_.empty() && clock_.now() < deadline) {
      clock_.wait_until(lock, leaked_ended_, deadline);
    }
  }
  return leaked();
}

}  // namespace vigil::http
