// gRPC: each call that a server handles is a task, by a server interceptor. Header-only: the program
// brings the library (packages libgrpc++-dev, protobuf-compiler-grpc).
//
//   std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
//   creators.push_back(std::make_unique<vigil::leakwatch::GrpcTasks>(registry));
//   grpc::ServerBuilder builder;
//   builder.experimental().SetInterceptorCreators(std::move(creators));
//
// That is all: no service changes. A task is called after its method ("/shop.Orders/Get"), lends
// peer and method to reports, and knows the deadline that the client gave its call: one that goes on
// beyond it is reported as leaked past its timeout.
//
// It begins when the call's metadata has arrived and ends with the call. In the synchronous API its
// thread is the handler's all that time. In the callback API it is on a thread while the method makes
// its reactor, and "await" from then on: reactions run where gRPC sees fit, and no interceptor is
// asked. Calls of the asynchronous API with completion queues are seen in the same way.
//
// What a client names is never kept: methods that the server does not know are one label, and behind
// kLabelsMax methods (a generic service may have any) so are all others.
//
// `registry` must outlive the server. Thread-safe. Cost for each call: a task, a lock to find its
// label, two allocations. Tested with gRPC 1.51; its interceptors are in namespace experimental.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_interceptor.h>

#include "leakwatch/async_task.h"

namespace vigil::leakwatch {

namespace detail {

// One call's task, with what it works on. Shared: the call may end, and its interceptor with it,
// inside Proceed().
class GrpcCallTask {
 public:
  GrpcCallTask(TaskRegistry& registry, TaskLabel label, const grpc::ServerContextBase& context,
               MonotonicTime now)
      : peer_(context.peer()),
        about_{.method = "POST", .target = label.text(), .request_id = {}, .peer = peer_},
        task_(registry, label,
              {.now = now, .gives_up_at = monotonic(context.deadline(), now), .request = &about_}) {
  }

  AsyncTask& task() { return task_; }

 private:
  // gRPC has the client's deadline in wall time, far in the future where there is none.
  static MonotonicTime monotonic(std::chrono::system_clock::time_point deadline,
                                 MonotonicTime now) {
    constexpr auto kNone = std::chrono::hours(24 * 365);
    const auto left = deadline - std::chrono::system_clock::now();
    if (deadline == std::chrono::system_clock::time_point::max() || left > kNone) {
      return kNoDeadline;
    }
    return now + std::chrono::duration_cast<Duration>(left);
  }

  const std::string peer_;
  const TaskRequest about_;
  AsyncTask task_;
};

class GrpcInterceptor final : public grpc::experimental::Interceptor {
 public:
  GrpcInterceptor(TaskRegistry& registry, TaskLabel label, grpc::experimental::ServerRpcInfo& call)
      : registry_(registry), label_(label), call_(call) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    // Once a call, before its handler. A handler's own batches come here too, from any thread.
    if (!methods->QueryInterceptionHookPoint(Point::POST_RECV_INITIAL_METADATA)) {
      return methods->Proceed();
    }
    const auto mine = std::make_shared<GrpcCallTask>(registry_, label_, *call_.server_context(),
                                                     registry_.clock().now());
    task_ = mine;
    mine->task().enter();
    methods->Proceed();  // runs the handler; *this may be gone
    mine->task().leave();
  }

 private:
  TaskRegistry& registry_;
  const TaskLabel label_;
  grpc::experimental::ServerRpcInfo& call_;
  std::shared_ptr<GrpcCallTask> task_;
};

}  // namespace detail

class GrpcTasks final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  static constexpr std::size_t kLabelsMax = 1000;

  explicit GrpcTasks(TaskRegistry& registry) : registry_(registry) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* call) override {
    const char* const method = call->method();
    return new detail::GrpcInterceptor(registry_, label_of(method == nullptr ? "" : method), *call);
  }

 private:
  TaskLabel label_of(std::string_view method) {
    if (!method.starts_with('/')) return registry_.intern("gRPC: unknown method");
    std::lock_guard lock(mutex_);
    if (const auto known = labels_.find(method); known != labels_.end()) return known->second;
    if (labels_.size() >= kLabelsMax) return registry_.intern("gRPC: other method");
    return labels_.emplace(method, registry_.intern(method)).first->second;
  }

  TaskRegistry& registry_;
  std::mutex mutex_;
  std::map<std::string, TaskLabel, std::less<>> labels_;  // guarded by mutex_
};

}  // namespace vigil::leakwatch
