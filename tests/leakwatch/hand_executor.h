// An executor for coroutines whose thread is the test's: what is scheduled runs when the test says.
#pragma once

#include <coroutine>
#include <deque>
#include <mutex>

namespace vigil::leakwatch {

class HandExecutor {
 public:
  // co_await executor.turn(): goes on when the executor is run.
  auto turn() {
    struct Turn {
      HandExecutor& executor;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> handle) const { executor.schedule(handle); }
      void await_resume() const noexcept {}
    };
    return Turn{*this};
  }

  void schedule(std::coroutine_handle<> handle) {
    std::lock_guard lock(mutex_);
    ready_.push_back(handle);
  }

  // Resumes the one that waits longest, on the calling thread; false if none does.
  bool run_one() {
    std::coroutine_handle<> next;
    {
      std::lock_guard lock(mutex_);
      if (ready_.empty()) return false;
      next = ready_.front();
      ready_.pop_front();
    }
    next.resume();
    return true;
  }

 private:
  std::mutex mutex_;
  std::deque<std::coroutine_handle<>> ready_;
};

}  // namespace vigil::leakwatch
