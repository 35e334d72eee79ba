// Coroutine<T>: a coroutine whose task is seen while it waits, with the chain of functions that
// await one another. spawn() begins a task with it.
//
//   Coroutine<Price> price_of(Item item) {
//     const Row row = co_await database.read(item);        // any awaitable
//     co_return co_await in_euros(row);                    // another Coroutine
//   }
//   Coroutine<> checkout(Cart cart) { … co_await price_of(item) … }
//
//   spawn(registry, label, checkout(cart), [](std::exception_ptr error) { … });
//
// While it waits it is on no thread, and no stack shows it; /debug/pprof/goroutine?debug=2 and the
// watchdog's reports show this instead:
//
//   goroutine 12 [await, 3 minutes, labels:{"route":"checkout"}]:
//   shop::price_of(...)
//   	/src/shop/prices.cc:17 +0x0
//   shop::checkout(...)
//   	/src/shop/checkout.cc:41 +0x0
//   # task 12: checkout, age 3m12s, waits on no thread
//
//   spawn ─▶ checkout ── co_await ─▶ price_of ── co_await ─▶ database.read(): leave(), then suspended
//                                       ▲                                      │
//            innermost frame ───────────┘      enter() on the executor's ◀─────┘ resumed
//                                              thread, then go on
//
// A Coroutine is lazy: it runs when it is awaited, once, and goes on where whatever it awaits
// resumes it. Awaiting another Coroutine costs two pointers and no registration; only where one
// really waits, the task leaves its thread and enters the next (AsyncTask): some 70 ns. Outside
// spawn(), awaited by a coroutine of another library, it works the same and is seen by nobody.
//
// Exceptions pass from the awaited to the awaiting, and from the outermost to spawn()'s callback. A
// coroutine that is never resumed is never freed, nor is its task's end reported: the executor must
// run what it has accepted. Needs a compiler with <coroutine> and <source_location>: g++ 11, or
// clang 16. A Coroutine is not thread-safe in itself: one thread at a time, as with every coroutine.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include "leakwatch/async_task.h"

namespace vigil::leakwatch {

template <typename T = void>
class Coroutine;

namespace detail {

// What the compiler finds for `co_await awaitable`.
template <typename Awaitable>
decltype(auto) awaiter_of(Awaitable&& awaitable) {
  if constexpr (requires { std::forward<Awaitable>(awaitable).operator co_await(); }) {
    return std::forward<Awaitable>(awaitable).operator co_await();
  } else if constexpr (requires { operator co_await(std::forward<Awaitable>(awaitable)); }) {
    return operator co_await(std::forward<Awaitable>(awaitable));
  } else {
    return std::forward<Awaitable>(awaitable);
  }
}

// The part of a promise that does not depend on the result.
class CoroutinePromise {
 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }

  struct GoOnWithCaller {
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
      const CoroutinePromise& promise = ended.promise();
      return promise.caller_ ? promise.caller_ : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  GoOnWithCaller final_suspend() const noexcept { return {}; }

  void unhandled_exception() noexcept { error_ = std::current_exception(); }
  void rethrow_if_failed() const {
    if (error_) std::rethrow_exception(error_);
  }

  // Awaited as the task's outermost coroutine.
  void begin_as_root(AsyncTask& task, std::coroutine_handle<> caller) {
    task_ = &task;
    caller_ = caller;
  }
  void begin_under(CoroutinePromise& caller, std::coroutine_handle<> caller_handle) {
    task_ = caller.task_;
    frame_.caller = &caller.frame_;
    caller_ = caller_handle;
  }
  void begin_unseen(std::coroutine_handle<> caller) { caller_ = caller; }

  void waits() {
    if (task_ != nullptr) task_->leave(&frame_);
  }
  void goes_on() {
    if (task_ != nullptr) task_->enter();
  }

  // Of anything else: the task leaves its thread before it is suspended, because from that moment
  // another thread may resume it, and enters the one that does.
  template <typename Awaiter>
  class Wait {
   public:
    template <typename Awaitable>
    Wait(CoroutinePromise& promise, Awaitable&& awaitable)
        : promise_(promise), awaiter_(awaiter_of(std::forward<Awaitable>(awaitable))) {}

    bool await_ready() { return awaiter_.await_ready(); }

    template <typename Promise>
    auto await_suspend(std::coroutine_handle<Promise> waiting) {
      using Returned = decltype(awaiter_.await_suspend(waiting));
      has_left_ = true;
      promise_.waits();
      try {
        if constexpr (std::is_same_v<Returned, bool>) {
          if (awaiter_.await_suspend(waiting)) return true;
          go_on();
          return false;
        } else {
          return awaiter_.await_suspend(waiting);  // *this may be gone
        }
      } catch (...) {
        go_on();  // thrown before anybody could resume it: the coroutine goes on here
        throw;
      }
    }

    decltype(auto) await_resume() {
      if (has_left_) go_on();
      return awaiter_.await_resume();
    }

   private:
    void go_on() {
      has_left_ = false;
      promise_.goes_on();
    }

    CoroutinePromise& promise_;
    Awaiter awaiter_;
    bool has_left_ = false;
  };

  template <typename Awaitable>
  auto await_transform(Awaitable&& awaitable,
                       std::source_location where = std::source_location::current()) {
    frame_.file = where.file_name();
    frame_.line = where.line();
    if constexpr (requires { awaitable.await_under(*this); }) {
      return awaitable.await_under(*this);
    } else {
      using Awaiter = decltype(awaiter_of(std::forward<Awaitable>(awaitable)));
      // A prvalue awaiter is kept; an awaitable that is its own awaiter lives as long as the
      // co_await expression, and is referred to.
      return Wait<Awaiter>(*this, std::forward<Awaitable>(awaitable));
    }
  }

 protected:
  void set_function(const std::source_location& where) { frame_.function = where.function_name(); }

 private:
  AwaitFrame frame_;
  AsyncTask* task_ = nullptr;
  std::coroutine_handle<> caller_;
  std::exception_ptr error_;
};

template <typename T>
class CoroutineResult : public CoroutinePromise {
 public:
  template <typename Value>
  void return_value(Value&& value) {
    value_.emplace(std::forward<Value>(value));
  }
  T take() {
    rethrow_if_failed();
    return *std::move(value_);
  }

 private:
  std::optional<T> value_;
};

template <>
class CoroutineResult<void> : public CoroutinePromise {
 public:
  void return_void() const noexcept {}
  void take() const { rethrow_if_failed(); }
};

}  // namespace detail

// Move-only. Await it once, as an rvalue: co_await f(x), or co_await std::move(kept).
template <typename T>
class [[nodiscard]] Coroutine {
 public:
  class promise_type : public detail::CoroutineResult<T> {
   public:
    // The default argument is evaluated in the coroutine itself: its name.
    Coroutine get_return_object(
        const std::source_location& function = std::source_location::current()) {
      this->set_function(function);
      return Coroutine(std::coroutine_handle<promise_type>::from_promise(*this));
    }
  };

  Coroutine(Coroutine&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Coroutine& operator=(Coroutine&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Coroutine() {
    if (handle_) handle_.destroy();
  }

  // Awaited: begins, by `begin`, and gives its result.
  template <typename Begin>
  struct Awaiter {
    std::coroutine_handle<promise_type> handle;
    Begin begin;

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) {
      begin(handle.promise(), caller);
      return handle;
    }
    T await_resume() { return handle.promise().take(); }
  };

  // By another Coroutine: CoroutinePromise::await_transform asks for it.
  auto await_under(detail::CoroutinePromise& caller) {
    return awaiter([&caller](promise_type& promise, std::coroutine_handle<> handle) {
      promise.begin_under(caller, handle);
    });
  }
  // By spawn().
  auto await_as_root(AsyncTask& task) {
    return awaiter([&task](promise_type& promise, std::coroutine_handle<> handle) {
      promise.begin_as_root(task, handle);
    });
  }
  // By a coroutine of another library.
  auto operator co_await() && {
    return awaiter([](promise_type& promise, std::coroutine_handle<> handle) {
      promise.begin_unseen(handle);
    });
  }

 private:
  explicit Coroutine(std::coroutine_handle<promise_type> handle) : handle_(handle) {}

  template <typename Begin>
  Awaiter<Begin> awaiter(Begin begin) {
    return {handle_, std::move(begin)};
  }

  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

// What spawn() runs in: begins at once, and frees itself at its end.
struct Spawned {
  struct promise_type {
    Spawned get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    // Only the callback is outside the try block.
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

template <typename OnEnd>
Spawned run_spawned(TaskRegistry& registry, TaskLabel label, TaskStart start, Coroutine<> work,
                    OnEnd on_end) {
  std::exception_ptr error;
  {
    AsyncTask task(registry, label, start);
    task.enter();
    try {
      co_await work.await_as_root(task);
    } catch (...) {
      error = std::current_exception();
    }
    task.leave();
  }
  on_end(error);
}

}  // namespace detail

// Begins a task and runs `work` in it, on the calling thread up to where it waits for the first
// time. `on_end` is called when it has ended and its task with it, on the thread where that
// happened, with the exception that it ended by, or null; it must not throw. `registry`, and what
// `start` points to, must outlive the task.
template <typename OnEnd>
void spawn(TaskRegistry& registry, TaskLabel label, TaskStart start, Coroutine<> work,
           OnEnd on_end) {
  detail::run_spawned(registry, label, start, std::move(work), std::move(on_end));
}
template <typename OnEnd>
void spawn(TaskRegistry& registry, TaskLabel label, Coroutine<> work, OnEnd on_end) {
  spawn(registry, label, TaskStart{.now = registry.clock().now()}, std::move(work),
        std::move(on_end));
}

}  // namespace vigil::leakwatch
