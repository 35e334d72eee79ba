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
// A call that its client has cancelled, or whose client is gone, is reported as abandoned. With the
// callback API, and with completion queues, gRPC tells the interceptor so. A synchronous call has to be
// asked (ServerContext::IsCancelled()): reports and pages do that, on their threads, while its handler
// runs. Then interceptors of the program get their POST_RECV_CLOSE there too. Asked is only on threads
// of gRPC's own pool, known by their name, because the same question ends a program whose call comes
// from a completion queue.
//
// What a client names is never kept: methods that the server does not know are one label, and behind
// kLabelsMax methods (a generic service may have any) so are all others.
//
// `registry` must outlive the server. Thread-safe. Cost for each call: a task, a lock to find its
// label, two more to be known to reports and to be forgotten, three allocations. Tested with gRPC 1.51;
// its interceptors are in namespace experimental.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

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

  // The handler of the synchronous API runs from here on, and `context` lives until stop_asking().
  void ask(const grpc::ServerContextBase& context) {
    const std::lock_guard lock(mutex_);
    asked_ = &context;
  }
  void stop_asking() {
    const std::lock_guard lock(mutex_);
    asked_ = nullptr;
  }
  // PRE_SEND_STATUS: the call ends as it should.
  void answered() {
    is_answered_.store(true, std::memory_order_relaxed);
    stop_asking();
  }
  // POST_RECV_CLOSE: it has ended, before its answer or behind it. No lock: IsCancelled() calls this.
  void closed() {
    if (!is_answered_.load(std::memory_order_relaxed)) {
      is_gone_.store(true, std::memory_order_relaxed);
    }
  }
  bool client_is_gone() {
    const std::lock_guard lock(mutex_);
    if (asked_ != nullptr && asked_->IsCancelled()) is_gone_.store(true, std::memory_order_relaxed);
    return is_gone_.load(std::memory_order_relaxed);
  }

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
  std::atomic<bool> is_answered_{false};
  std::atomic<bool> is_gone_{false};
  std::mutex mutex_;
  const grpc::ServerContextBase* asked_ = nullptr;  // guarded by mutex_
};

// The calls that run, for those who report about their tasks.
class GrpcCalls final : public ClientWatch {
 public:
  explicit GrpcCalls(TaskRegistry& registry) : registry_(registry) {
    registry_.add_client_watch(*this);
  }
  ~GrpcCalls() { registry_.remove_client_watch(*this); }

  void add(std::shared_ptr<GrpcCallTask> call) {
    const TaskId id = call->task().id();
    if (id == TaskId::kNone) return;
    const std::lock_guard lock(mutex_);
    calls_.emplace(id, std::move(call));
  }
  void remove(TaskId id) {
    std::shared_ptr<GrpcCallTask> last;  // its end needs no lock of ours
    const std::lock_guard lock(mutex_);
    const auto found = calls_.find(id);
    if (found == calls_.end()) return;
    last = std::move(found->second);
    calls_.erase(found);
  }

  bool client_is_gone(TaskId id) override {
    std::shared_ptr<GrpcCallTask> call;
    {
      const std::lock_guard lock(mutex_);
      const auto found = calls_.find(id);
      if (found == calls_.end()) return false;
      call = found->second;
    }
    return call->client_is_gone();
  }

 private:
  TaskRegistry& registry_;
  std::mutex mutex_;
  std::unordered_map<TaskId, std::shared_ptr<GrpcCallTask>> calls_;  // guarded by mutex_
};

// Whether the calling thread is of the pool that runs handlers of the synchronous API.
inline bool runs_synchronous_calls() {
  constexpr std::string_view kPoolThread = "grpcpp_sync_ser";  // "…server", cut by the kernel
  thread_local const bool kIs = [] {
    std::array<char, 16> name{};
    return pthread_getname_np(pthread_self(), name.data(), name.size()) == 0 &&
           name.data() == kPoolThread;
  }();
  return kIs;
}

class GrpcInterceptor final : public grpc::experimental::Interceptor {
 public:
  GrpcInterceptor(TaskRegistry& registry, std::shared_ptr<GrpcCalls> calls, TaskLabel label,
                  grpc::experimental::ServerRpcInfo& call)
      : registry_(registry), calls_(std::move(calls)), label_(label), call_(call) {}
  ~GrpcInterceptor() override {
    if (task_) forget(*task_);
  }

  // A call's own batches come here too, from any thread.
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    if (task_ && methods->QueryInterceptionHookPoint(Point::PRE_SEND_STATUS)) task_->answered();
    if (task_ && methods->QueryInterceptionHookPoint(Point::POST_RECV_CLOSE)) task_->closed();
    // Once a call, before its handler.
    if (!methods->QueryInterceptionHookPoint(Point::POST_RECV_INITIAL_METADATA)) {
      return methods->Proceed();
    }
    run(methods);
  }

 private:
  void run(grpc::experimental::InterceptorBatchMethods* methods) {
    const grpc::ServerContextBase& context = *call_.server_context();
    const auto calls = calls_;
    const auto mine =
        std::make_shared<GrpcCallTask>(registry_, label_, context, registry_.clock().now());
    task_ = mine;
    calls->add(mine);
    if (runs_synchronous_calls()) mine->ask(context);
    mine->task().enter();
    methods->Proceed();  // runs the handler; *this may be gone
    mine->task().leave();
  }
  void forget(GrpcCallTask& call) {
    call.stop_asking();
    calls_->remove(call.task().id());
  }

  TaskRegistry& registry_;
  const std::shared_ptr<GrpcCalls> calls_;  // a call may outlive the factory
  const TaskLabel label_;
  grpc::experimental::ServerRpcInfo& call_;
  std::shared_ptr<GrpcCallTask> task_;
};

}  // namespace detail

class GrpcTasks final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  static constexpr std::size_t kLabelsMax = 1000;

  explicit GrpcTasks(TaskRegistry& registry)
      : registry_(registry), calls_(std::make_shared<detail::GrpcCalls>(registry)) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* call) override {
    const char* const method = call->method();
    const TaskLabel label = label_of(method == nullptr ? "" : method);
    return new detail::GrpcInterceptor(registry_, calls_, label, *call);
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
  const std::shared_ptr<detail::GrpcCalls> calls_;
  std::mutex mutex_;
  std::map<std::string, TaskLabel, std::less<>> labels_;  // guarded by mutex_
};

}  // namespace vigil::leakwatch
