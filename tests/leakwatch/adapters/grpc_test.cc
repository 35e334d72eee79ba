// leakwatch/adapters/grpc.h with real gRPC servers, synchronous and with callbacks, and a client.
#include "leakwatch/adapters/grpc.h"

#include <atomic>
#include <future>
#include <optional>
#include <set>
#include <thread>

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "base/clock.h"
#include "base/thread_id.h"
#include "shop.grpc.pb.h"
#include "tests/support/catch.h"
#include "tests/support/eventually.h"

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;
using test::eventually;

// A call's handler waits inside until the test lets it go.
struct Gate {
  std::promise<pid_t> inside;  // the handler's thread
  std::promise<void> go;
  void pass() {
    inside.set_value(current_thread_id());
    go.get_future().wait();
  }
};

class Prices final : public shop::Prices::Service {
 public:
  Gate gate;
  std::atomic<bool> gated{true};

  grpc::Status Get(grpc::ServerContext*, const shop::Item* item, shop::Price* price) override {
    if (gated) gate.pass();
    if (item->number() == 0) return {grpc::StatusCode::NOT_FOUND, "no such item"};
    price->set_cents(item->number() * 100);
    return grpc::Status::OK;
  }
  grpc::Status Watch(grpc::ServerContext*, const shop::Item*,
                     grpc::ServerWriter<shop::Price>* writer) override {
    shop::Price price;
    for (int i = 1; i <= 3; ++i) {
      price.set_cents(i);
      writer->Write(price);
      if (i == 2 && gated) gate.pass();
    }
    return grpc::Status::OK;
  }
};

class CallbackPrices final : public shop::Prices::CallbackService {
 public:
  std::promise<grpc::ServerUnaryReactor*> waits;

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const shop::Item* item,
                                shop::Price* price) override {
    price->set_cents(item->number() * 100);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    waits.set_value(reactor);
    return reactor;
  }
};

// How calls come to a service.
enum class Calls {
  kByThreads,  // of gRPC
  kByQueue,    // which the test's thread works
};

// A server with GrpcTasks on a port of its own.
class Served {
 public:
  Served(TaskRegistry& registry, grpc::Service& service, Calls calls = Calls::kByThreads) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
    creators.push_back(std::make_unique<GrpcTasks>(registry));
    grpc::ServerBuilder builder;
    builder.experimental().SetInterceptorCreators(std::move(creators));
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service);
    if (calls == Calls::kByQueue) queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
  }
  ~Served() { stop(); }
  void stop() {
    if (server_ == nullptr) return;
    server_->Shutdown();
    server_->Wait();
    if (queue_ != nullptr) {
      queue_->Shutdown();
      while (next() != nullptr) continue;
    }
    server_.reset();
  }
  grpc::ServerCompletionQueue& queue() { return *queue_; }
  // The tag of what the queue brings next; null at its end.
  void* next() {
    void* tag = nullptr;
    bool good = false;
    return queue_->Next(&tag, &good) ? tag : nullptr;
  }
  // Runs what gRPC has to do on the queue's thread, for a millisecond.
  void poll() {
    void* tag = nullptr;
    bool good = false;
    queue_->AsyncNext(&tag, &good, std::chrono::system_clock::now() + 1ms);
  }
  std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel("127.0.0.1:" + std::to_string(port_),
                               grpc::InsecureChannelCredentials());
  }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
};

struct Answer {
  grpc::Status status;
  int cents = 0;
};

Answer get(const Served& served, int number, Duration timeout = 30s) {
  const auto stub = shop::Prices::NewStub(served.channel());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  shop::Item item;
  item.set_number(number);
  shop::Price price;
  Answer answer;
  answer.status = stub->Get(&context, item, &price);
  answer.cents = price.cents();
  return answer;
}

TEST_CASE("grpc: a synchronous call is a task on its handler's thread, with peer and deadline") {
  SystemClock clock;
  TaskRegistry registry(clock);
  Prices service;
  Served served(registry, service);
  auto answer = std::async(std::launch::async, [&] { return get(served, 7, 20s); });
  const pid_t handler = service.gate.inside.get_future().get();
  const std::vector<TaskInfo> tasks = registry.snapshot();
  const auto request = tasks.empty() ? std::nullopt : registry.request_of(tasks[0].id);
  service.gate.go.set_value();
  const Answer got = answer.get();
  served.stop();
  REQUIRE(tasks.size() == 1);
  CHECK(tasks[0].label == "/shop.Prices/Get");
  CHECK(tasks[0].thread == handler);
  REQUIRE(tasks[0].has_timeout());
  CHECK(tasks[0].timeout() > 15s);
  CHECK(tasks[0].timeout() <= 21s);  // gRPC rounds what it sends up
  REQUIRE(request);
  CHECK(request->target == "/shop.Prices/Get");
  CHECK(request->peer.find("127.0.0.1:") != std::string::npos);
  CHECK(got.status.ok());
  CHECK(got.cents == 700);
  CHECK(registry.snapshot().empty());
}

TEST_CASE("grpc: a call without a deadline has no timeout, and one that fails ends its task") {
  SystemClock clock;
  TaskRegistry registry(clock);
  Prices service;
  Served served(registry, service);
  auto answer = std::async(std::launch::async, [&] {
    const auto stub = shop::Prices::NewStub(served.channel());
    grpc::ClientContext context;
    shop::Price price;
    return stub->Get(&context, shop::Item(), &price);
  });
  service.gate.inside.get_future().wait();
  const std::vector<TaskInfo> tasks = registry.snapshot();
  service.gate.go.set_value();
  const grpc::Status status = answer.get();
  served.stop();
  REQUIRE(tasks.size() == 1);
  CHECK_FALSE(tasks[0].has_timeout());
  CHECK(status.error_code() == grpc::StatusCode::NOT_FOUND);
  CHECK(registry.snapshot().empty());
}

TEST_CASE("grpc: a streaming call is one task to its end") {
  SystemClock clock;
  TaskRegistry registry(clock);
  Prices service;
  Served served(registry, service);
  auto streamed = std::async(std::launch::async, [&] {
    const auto stub = shop::Prices::NewStub(served.channel());
    grpc::ClientContext context;
    const auto reader = stub->Watch(&context, shop::Item());
    shop::Price price;
    int sum = 0;
    while (reader->Read(&price)) sum += price.cents();
    return reader->Finish().ok() ? sum : -1;
  });
  const pid_t handler = service.gate.inside.get_future().get();
  const std::vector<TaskInfo> tasks = registry.snapshot();
  service.gate.go.set_value();
  const int sum = streamed.get();
  served.stop();
  REQUIRE(tasks.size() == 1);
  CHECK(tasks[0].label == "/shop.Prices/Watch");
  CHECK(tasks[0].thread == handler);
  CHECK(sum == 6);
  CHECK(registry.counters().started == 1);
  CHECK(registry.snapshot().empty());
}

TEST_CASE("grpc: a call of the callback API waits on no thread until its reactor finishes") {
  SystemClock clock;
  TaskRegistry registry(clock);
  CallbackPrices service;
  Served served(registry, service);
  auto answer = std::async(std::launch::async, [&] { return get(served, 3); });
  grpc::ServerUnaryReactor* const reactor = service.waits.get_future().get();
  std::vector<TaskInfo> tasks = registry.snapshot();
  // The method gave its reactor a moment before it returned.
  while (tasks.size() == 1 && !tasks[0].waiting()) {
    std::this_thread::yield();
    tasks = registry.snapshot();
  }
  reactor->Finish(grpc::Status::OK);
  const Answer got = answer.get();
  served.stop();
  REQUIRE(tasks.size() == 1);
  CHECK(tasks[0].label == "/shop.Prices/Get");
  CHECK(got.cents == 300);
  CHECK(registry.snapshot().empty());
}

// A call whose client takes it back while the server works for it, in a thread of its own.
class CancelledCall {
 public:
  explicit CancelledCall(const Served& served) : stub_(shop::Prices::NewStub(served.channel())) {
    answer_ = std::async(std::launch::async, [this] {
      shop::Price price;
      return stub_->Get(&context_, shop::Item(), &price);
    });
  }
  grpc::StatusCode cancel() {
    context_.TryCancel();
    return answer_.get().error_code();
  }

 private:
  std::unique_ptr<shop::Prices::Stub> stub_;
  grpc::ClientContext context_;
  std::future<grpc::Status> answer_;
};

bool client_is_gone(const TaskRegistry& registry) {
  const std::vector<TaskInfo> tasks = registry.snapshot();
  if (tasks.size() != 1) return false;
  const auto request = registry.request_of(tasks[0].id);
  return request && request->client_gone;
}

TEST_CASE("grpc: a synchronous call that its client has cancelled is abandoned") {
  SystemClock clock;
  TaskRegistry registry(clock);
  Prices service;
  Served served(registry, service);
  CancelledCall call(served);
  service.gate.inside.get_future().wait();
  const bool gone_before = client_is_gone(registry);
  const grpc::StatusCode code = call.cancel();
  // The client knows when it has said so, the server some time later.
  const bool gone = eventually([&] { return client_is_gone(registry); });
  service.gate.go.set_value();
  served.stop();
  CHECK_FALSE(gone_before);
  CHECK(code == grpc::StatusCode::CANCELLED);
  CHECK(gone);
  CHECK(registry.snapshot().empty());
}

TEST_CASE("grpc: a call beyond its client's deadline is abandoned too") {
  SystemClock clock;
  TaskRegistry registry(clock);
  Prices service;
  Served served(registry, service);
  auto answer = std::async(std::launch::async, [&] { return get(served, 7, 200ms); });
  service.gate.inside.get_future().wait();
  const bool gone = eventually([&] { return client_is_gone(registry); });
  const grpc::StatusCode code = answer.get().status.error_code();
  service.gate.go.set_value();
  served.stop();
  CHECK(gone);
  CHECK(code == grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_CASE("grpc: a call of the callback API that its client has cancelled is abandoned") {
  SystemClock clock;
  TaskRegistry registry(clock);
  CallbackPrices service;
  Served served(registry, service);
  CancelledCall call(served);
  grpc::ServerUnaryReactor* const reactor = service.waits.get_future().get();
  const bool gone_before = client_is_gone(registry);
  const grpc::StatusCode code = call.cancel();
  const bool gone = eventually([&] { return client_is_gone(registry); });
  reactor->Finish(grpc::Status::OK);
  served.stop();
  CHECK_FALSE(gone_before);
  CHECK(code == grpc::StatusCode::CANCELLED);
  CHECK(gone);
  CHECK(registry.snapshot().empty());
}

TEST_CASE("grpc: a call from a completion queue: asked about, and cancelled") {
  SystemClock clock;
  TaskRegistry registry(clock);
  shop::Prices::AsyncService service;
  Served served(registry, service, Calls::kByQueue);
  grpc::ServerContext context;
  shop::Item item;
  grpc::ServerAsyncResponseWriter<shop::Price> writer(&context);
  service.RequestGet(&context, &item, &writer, &served.queue(), &served.queue(), &item);
  CancelledCall call(served);
  REQUIRE(served.next() == &item);
  // Nobody may ask gRPC here: that would end the process.
  const bool gone_before = client_is_gone(registry);
  const grpc::StatusCode code = call.cancel();
  // The queue brings nothing of the program's, but runs what gRPC has to tell.
  const bool gone = eventually([&] {
    served.poll();
    return client_is_gone(registry);
  });
  writer.Finish(shop::Price(), grpc::Status::OK, &writer);
  REQUIRE(served.next() == &writer);
  served.stop();
  CHECK_FALSE(gone_before);
  CHECK(code == grpc::StatusCode::CANCELLED);
  CHECK(gone);
}

TEST_CASE("grpc: reports ask about calls that begin and end meanwhile") {
  SystemClock clock;
  TaskRegistry registry(clock);
  Prices service;
  service.gated = false;
  Served served(registry, service);
  std::atomic<bool> stop{false};
  auto clients = std::async(std::launch::async, [&] {
    int good = 0;
    for (int call = 0; call < 200; ++call) good += get(served, 1).cents == 100;
    stop = true;
    return good;
  });
  int gone = 0;
  while (!stop) {
    for (const TaskInfo& task : registry.snapshot()) {
      const auto request = registry.request_of(task.id);
      gone += request && request->client_gone;
    }
  }
  CHECK(clients.get() == 200);
  CHECK(gone == 0);
}

TEST_CASE("grpc: many calls at once leave nothing behind, and one label for the method") {
  SystemClock clock;
  TaskRegistry registry(clock);
  Prices service;
  service.gated = false;
  Served served(registry, service);
  std::vector<std::future<int>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::async(std::launch::async, [&] {
      int good = 0;
      for (int call = 0; call < 25; ++call) good += get(served, 1).cents == 100;
      return good;
    }));
  }
  int good = 0;
  for (auto& client : clients) good += client.get();
  served.stop();
  CHECK(good == 200);
  CHECK(registry.counters().started == 200);
  CHECK(registry.snapshot().empty());
  CHECK(Task::current() == TaskId::kNone);
}

TaskRegistry* looked_at = nullptr;
constinit std::atomic<int> invented{0};  // tasks called after what a client has made up
void look_at_label(TaskId id) noexcept {
  const auto task = looked_at->find(id);
  if (task && task->label.find("Invented") != std::string_view::npos) ++invented;
}

TEST_CASE("grpc: what a client calls that nobody serves is no label of its own") {
  SystemClock clock;
  TaskRegistry registry(clock);
  looked_at = &registry;
  set_task_begun_hook(look_at_label);
  Prices service;
  service.gated = false;
  Served served(registry, service);
  const auto channel = served.channel();
  grpc::GenericStub stub(channel);
  std::set<int> codes;
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    const grpc::Slice nothing("");
    const grpc::ByteBuffer request(&nothing, 1);
    grpc::ByteBuffer response;
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, "/shop.Prices/Invented" + std::to_string(i), {}, &request, &response,
                   [&](grpc::Status status) { done.set_value(std::move(status)); });
    codes.insert(done.get_future().get().error_code());
  }
  served.stop();
  set_task_begun_hook(nullptr);
  CHECK(codes == std::set<int>{grpc::StatusCode::UNIMPLEMENTED});
  CHECK(invented == 0);
  CHECK(registry.snapshot().empty());
}

}  // namespace
}  // namespace vigil::leakwatch
