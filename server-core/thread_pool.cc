#include "server-core/thread_pool.h"

#include <algorithm>
#include <new>

#include "sampler/own_wait.h"
#include "server-core/engine.h"
#include "server-core/engine_thread.h"

namespace vigil::http {

ThreadPool::ThreadPool(Engine& engine) : engine_(engine) {}

ThreadPool::~ThreadPool() { stop_and_join(); }

EngineThread* ThreadPool::take(const char* role, ReadBuffer* buffer) {
  std::unique_lock lock(mutex_);
  if (stopping_) return nullptr;
  reap_ended(lock);
  if (!idle_.empty()) {
    EngineThread* thread = idle_.back();
    if (!thread->prepare_to_lead(buffer)) return nullptr;
    idle_.pop_back();
    return thread;
  }
  return spawn(role, buffer);
}

// With the lock held: starting a thread takes some 30 us, and happens when load grows.
EngineThread* ThreadPool::spawn(const char* role, ReadBuffer* buffer) {
  if (threads_.size() >= engine_.options.max_threads) return nullptr;
  try {
    const std::string name =
        engine_.options.thread_name + "-" + role + "-" + std::to_string(spawned_);
    auto thread = std::make_unique<EngineThread>(engine_, name.substr(0, 15));
    threads_.reserve(threads_.size() + 1);
    idle_.reserve(threads_.size() + 1);
    ended_.reserve(threads_.size() + 1);
    // A buffer that is given is kept by its giver until nothing can fail any more.
    if (buffer == nullptr && !thread->prepare_to_lead(nullptr)) return nullptr;
    if (!thread->start()) return nullptr;
    (void)thread->prepare_to_lead(buffer);
    ++spawned_;
    threads_.push_back(std::move(thread));
    return threads_.back().get();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void ThreadPool::run(EngineThread& thread, Poller& poller) {
  std::lock_guard lock(mutex_);
  thread.assigned = &poller;
  thread.wake.notify_one();
}

void ThreadPool::put_back(EngineThread& thread) {
  std::lock_guard lock(mutex_);
  idle_.push_back(&thread);
  if (stopping_) thread.wake.notify_one();
}

Poller* ThreadPool::wait_for_work(EngineThread& thread) {
  std::unique_lock lock(mutex_);
  MonotonicTime ends_at = kNoDeadline;
  if (!thread.fresh) {
    if (idle_.size() >= engine_.options.idle_threads_max) {
      ends_at = engine_.clock.now() + ServerOptions::kSurplusThreadTime;
    }
    idle_.push_back(&thread);
  }
  // A fresh thread was started for somebody who holds it already: it is not idle.
  thread.fresh = false;
  const sampler::OwnWait idle;
  while (thread.assigned == nullptr && !stopping_) {
    if (ends_at == kNoDeadline) {
      thread.wake.wait(lock);
    } else if (engine_.clock.now() < ends_at) {
      engine_.clock.wait_until(lock, thread.wake, ends_at);
    } else if (std::erase(idle_, &thread) == 1) {
      return nullptr;
    } else {
      ends_at = kNoDeadline;  // somebody has taken it in this moment
    }
  }
  if (thread.assigned == nullptr) std::erase(idle_, &thread);
  return std::exchange(thread.assigned, nullptr);
}

void ThreadPool::thread_ended(EngineThread& thread) {
  std::lock_guard lock(mutex_);
  ended_.push_back(&thread);
}

void ThreadPool::reap_ended(std::unique_lock<std::mutex>&) {
  for (EngineThread* thread : ended_) {
    thread->join();  // it has nothing left to do but return
    for (std::size_t i = 0; i < static_cast<std::size_t>(Counter::kCount); ++i) {
      const auto counter = static_cast<Counter>(i);
      retired_.add(counter, thread->counters.get(counter));
    }
    std::erase_if(threads_, [&](const auto& owned) { return owned.get() == thread; });
  }
  ended_.clear();
}

void ThreadPool::stop_and_join() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& thread : threads_) thread->wake.notify_one();
  }
  // Not with the lock, which they need to end. From here on nobody else changes the list.
  for (const auto& thread : threads_) thread->join();
  std::unique_lock lock(mutex_);
  reap_ended(lock);
}

std::size_t ThreadPool::size() const {
  std::lock_guard lock(mutex_);
  return threads_.size() - ended_.size();
}

std::int64_t ThreadPool::sum(Counter counter) const {
  std::lock_guard lock(mutex_);
  std::int64_t total = retired_.get(counter);
  for (const auto& thread : threads_) total += thread->counters.get(counter);
  return total;
}

void ThreadPool::add(Counter counter, std::int64_t n) {
  std::lock_guard lock(mutex_);
  retired_.add(counter, n);
}

std::vector<RunningHandler> ThreadPool::running_handlers() const {
  const MonotonicTime now = engine_.clock.now();
  std::vector<RunningHandler> running;
  std::lock_guard lock(mutex_);
  for (const auto& thread : threads_) {
    if (auto handler = thread->running_handler(now)) running.push_back(*std::move(handler));
  }
  std::sort(running.begin(), running.end(),
            [](const RunningHandler& a, const RunningHandler& b) { return a.age > b.age; });
  return running;
}

}  // namespace vigil::http
