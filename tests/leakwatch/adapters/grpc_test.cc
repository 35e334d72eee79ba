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

namespace vigil::leakwatch {
namespace {

using namespace std::chrono_literals;

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

// A server with GrpcTasks on a port of its own.
class Served {
 public:
  Served(TaskRegistry& registry, grpc::Service& service) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
    creators.push_back(std::make_unique<GrpcTasks>(registry));
    grpc::ServerBuilder builder;
    builder.experimental().SetInterceptorCreators(std::move(creators));
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service);
    server_ = builder.BuildAndStart();
  }
  ~Served() { stop(); }
  void stop() {
    if (server_ == nullptr) return;
    server_->Shutdown();
    server_->Wait();
    server_.reset();
  }
  std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel("127.0.0.1:" + std::to_string(port_),
                               grpc::InsecureChannelCredentials());
  }

 private:
  int port_ = 0;
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
