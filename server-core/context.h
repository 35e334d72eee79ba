// Context: what a request carries along to everything that works for it: a deadline, a stop token,
// and typed values.
//
//   // A key is an object with an address; its type says what the value is.
//   inline constexpr ContextKey<User> kUser("user");
//
//   Handler authenticated(Handler next) {                       // middleware adds a value
//     return [next](ResponseWriter& response, Request& request) {
//       const ContextScope scope(request, request.context().with_value(kUser, user_of(request)));
//       next(response, request);
//     };
//   }
//   void get_order(ResponseWriter& response, Request& request) {
//     const Context context = request.context();
//     const User* user = context.value(kUser);                  // nullptr if nobody put one in
//     db.query(…, context.deadline(), context.stop_token());
//   }
//
// A request's context is stopped when its client goes away (within 100 ms, whatever the handler
// does), when its handler returns, when its deadline passes, when the server is forced down, and
// when the context that it comes from is stopped. Every context derived from it is stopped with it.
//
// Immutable: deriving gives a new one, and what others hold does not change. Copies are cheap (two
// reference counts) and may be kept and used by any thread, also after the request: then it is
// stopped, its values are still there. A request that nobody asks for its context pays nothing.
#pragma once

#include <memory>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "base/clock.h"
#include "server-core/deadline_timer.h"

namespace vigil::http {

// Names a value of type T in a context. Two keys are never equal, whatever their names: packages
// cannot collide. Define it as an inline constexpr variable.
template <typename T>
class ContextKey {
 public:
  constexpr explicit ContextKey(const char* name) : name_(name) {}
  ContextKey(const ContextKey&) = delete;
  ContextKey& operator=(const ContextKey&) = delete;

  // For people.
  constexpr const char* name() const { return name_; }

 private:
  const char* name_;
};

class Context {
 public:
  // No values, no deadline, never stopped. with_deadline() of it and of what is derived from it
  // only notes the deadline: nobody watches it.
  Context() = default;
  // Likewise, but deadlines are watched by `timer` as long as that lives.
  explicit Context(std::shared_ptr<DeadlineTimer> timer) : timer_(std::move(timer)) {}

  // When the work must be done, kNoDeadline if there is none. A request's context has the write
  // deadline of the moment in which it was asked for.
  MonotonicTime deadline() const { return deadline_; }

  const std::stop_token& stop_token() const { return token_; }
  bool stopped() const { return token_.stop_requested(); }

  // The value that was put in last under that key; nullptr if there is none. It lives as long as
  // this context or one derived from it. Cost: one step a value that was put in after it.
  template <typename T>
  const T* value(const ContextKey<T>& key) const {
    for (const Node* node = node_.get(); node != nullptr; node = node->parent.get()) {
      if (node->key == &key) return &static_cast<const Value<T>*>(node)->value;
    }
    return nullptr;
  }

  // This context and one value more. Allocates once.
  template <typename T>
  [[nodiscard]] Context with_value(const ContextKey<T>& key, std::type_identity_t<T> value) const {
    Context derived = *this;
    derived.node_ = std::make_shared<const Value<T>>(node_, &key, std::move(value));
    return derived;
  }

  // This context, stopped at `deadline` at the latest. Allocates; takes the timer's lock.
  [[nodiscard]] Context with_deadline(MonotonicTime deadline) const;

  // This context, stopped also when `token` is.
  [[nodiscard]] Context with_stop(std::stop_token token) const;

  // For the engine: this context's values, under a request's own deadline, stop token and timer
  // (nullptr: this context's).
  [[nodiscard]] Context for_request(MonotonicTime deadline, std::stop_token token,
                                    std::shared_ptr<DeadlineTimer> timer) const;

 private:
  struct Node {
    Node(std::shared_ptr<const Node> parent_node, const void* node_key)
        : parent(std::move(parent_node)), key(node_key) {}
    std::shared_ptr<const Node> parent;
    const void* key;  // nullptr: no value, a Stop
  };
  template <typename T>
  struct Value : Node {
    Value(std::shared_ptr<const Node> parent_node, const void* node_key, T&& v)
        : Node(std::move(parent_node), node_key), value(std::move(v)) {}
    T value;
  };
  struct Stop;

  std::shared_ptr<const Node> node_;  // keeps the ancestors' values and stops alive
  MonotonicTime deadline_ = kNoDeadline;
  std::stop_token token_;
  std::shared_ptr<DeadlineTimer> timer_;
};

}  // namespace vigil::http
