// Boost.Asio: each run of a completion handler is a task. Header-only: the program brings the
// library.
//
//   socket.async_read_some(buffer, task_handler(registry, label, [this](error_code e, size_t n) {…}));
//   boost::asio::post(pool, task_handler(registry, label, [] { rebuild_index(); }));
//   co_await timer.async_wait(task_handler(registry, label, boost::asio::use_awaitable));
//
// The handler is called inside a leakwatch::Task: the watchdog names one that blocks its thread, and
// with it everything else that this thread would have run. Any completion token may stand in the
// place of the handler. What is between two handlers, an operation under way, is no task:
// leakwatch/coroutine.h has tasks that are seen while they wait.
//
// Executor and allocator that are associated with the handler stay so: strands keep their promise.
// Costs what a Task costs, beside two words in the handler. Tested with Boost 1.74.
#pragma once

#include <type_traits>
#include <utility>

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>

#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

// What task_handler() makes: a completion token, which any asynchronous operation takes.
template <typename Token>
struct TaskToken {
  TaskRegistry* registry;
  TaskLabel label;
  Token token;
};

// `token`: a handler, or another completion token (use_future, use_awaitable, bind_executor(…), …).
// `registry` must outlive the operation. `label`: TaskRegistry::intern(), once, not for each call.
template <typename Token>
TaskToken<std::decay_t<Token>> task_handler(TaskRegistry& registry, TaskLabel label,
                                            Token&& token) {
  return {&registry, label, std::forward<Token>(token)};
}

namespace detail {

// The handler that an operation calls at its end.
template <typename Handler>
class TaskHandler {
 public:
  TaskHandler(TaskRegistry& registry, TaskLabel label, Handler handler)
      : registry_(&registry), label_(label), handler_(std::move(handler)) {}

  template <typename... Arguments>
  void operator()(Arguments&&... arguments) {
    const Task task(*registry_, label_);
    std::move(handler_)(std::forward<Arguments>(arguments)...);
  }
  const Handler& handler() const { return handler_; }

 private:
  TaskRegistry* registry_;
  TaskLabel label_;
  Handler handler_;
};

// Starts an operation with such a handler.
template <typename Initiation>
struct TaskInitiation {
  TaskRegistry* registry;
  TaskLabel label;
  Initiation initiation;

  template <typename Handler, typename... Arguments>
  void operator()(Handler&& handler, Arguments&&... arguments) {
    std::move(initiation)(
        TaskHandler<std::decay_t<Handler>>(*registry, label, std::forward<Handler>(handler)),
        std::forward<Arguments>(arguments)...);
  }
};

}  // namespace detail

}  // namespace vigil::leakwatch

namespace boost::asio {

template <typename Handler, typename Executor>
struct associated_executor<vigil::leakwatch::detail::TaskHandler<Handler>, Executor> {
  using type = typename associated_executor<Handler, Executor>::type;
  static type get(const vigil::leakwatch::detail::TaskHandler<Handler>& handler,
                  const Executor& otherwise = Executor()) noexcept {
    return associated_executor<Handler, Executor>::get(handler.handler(), otherwise);
  }
};

template <typename Handler, typename Allocator>
struct associated_allocator<vigil::leakwatch::detail::TaskHandler<Handler>, Allocator> {
  using type = typename associated_allocator<Handler, Allocator>::type;
  static type get(const vigil::leakwatch::detail::TaskHandler<Handler>& handler,
                  const Allocator& otherwise = Allocator()) noexcept {
    return associated_allocator<Handler, Allocator>::get(handler.handler(), otherwise);
  }
};

// The operation is started with the handler that the inner token makes, in its task.
template <typename Token, typename Signature>
class async_result<vigil::leakwatch::TaskToken<Token>, Signature> {
 public:
  // The return type is spelled out, so that a handler that does not fit drops out of overload
  // resolution (async_accept has four overloads).
  template <typename Initiation, typename... Arguments>
  static auto initiate(Initiation&& initiation, vigil::leakwatch::TaskToken<Token> given,
                       Arguments&&... arguments)
      -> decltype(async_initiate<Token, Signature>(
          std::declval<vigil::leakwatch::detail::TaskInitiation<std::decay_t<Initiation>>>(),
          given.token, std::forward<Arguments>(arguments)...)) {
    return async_initiate<Token, Signature>(
        vigil::leakwatch::detail::TaskInitiation<std::decay_t<Initiation>>{
            given.registry, given.label, std::forward<Initiation>(initiation)},
        given.token, std::forward<Arguments>(arguments)...);
  }
};

}  // namespace boost::asio
