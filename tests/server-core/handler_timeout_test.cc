// handler_timeout by the fake clock: what the client gets, and what the handler notices.

#include "server-core/handler_timeout.h"

#include <atomic>
#include <future>

#include "base/fake_clock.h"
#include "server-core/router.h"
#include "tests/server-core/fake_exchange.h"
#include "tests/support/catch.h"
#include "tests/support/recording_sink.h"

namespace vigil::http {
namespace {

using namespace std::chrono_literals;
using test::FakeExchange;

struct Fixture {
  explicit Fixture(TimeoutPoolOptions options = {}) : pool(registry, sink, clock, options) {}

  // Runs `handler` under a timeout of 1 s on a thread that stands for the connection's; it is done
  // when the result is.
  std::future<void> serve(FakeExchange& f, Handler handler) {
    return std::async(std::launch::async, [this, &f, handler = std::move(handler)] {
      handler_timeout(pool, 1s)(handler)(f.response, f.request);
    });
  }
  // Until the pool has no handler any more.
  void wait_until_empty() {
    while (pool.stats().running > 0) std::this_thread::yield();
  }

  FakeClock clock;
  RecordingSink sink;
  leakwatch::TaskRegistry registry{clock};
  TimeoutPool pool;
};

TEST_CASE("in time: status, headers and body are the handler's, read through its own request") {
  Fixture t;
  leakwatch::TaskRegistry& registry = t.registry;
  Router router(registry);
  leakwatch::TaskInfo own;
  REQUIRE(router
              .handle("/orders/{id}",
                      handler_timeout(t.pool, 1s)([&](ResponseWriter& response, Request& request) {
                        own = *registry.find(leakwatch::Task::current());
                        response.status(201);
                        response.headers().add("X-A", "1");
                        response.headers().add("X-A", "2");
                        const Result<std::string> body = request.read_all(100);
                        (void)response.write(std::string(request.path_value("id").value_or("?")) +
                                             std::string(request.query("card").value_or("?")) +
                                             std::string(request.header("x-in").value_or("?")) +
                                             *body);
                      }))
              .ok());
  FakeExchange f(t.clock.now(), "/orders/a%2Fb?card=42", {{"X-In", "in"}});
  f.transport.body = "body";
  f.response.headers().set("X-Outer", "kept");
  f.response.headers().set("X-A", "0");
  router(f.response, f.request);
  CHECK(f.response.status_code() == 201);
  CHECK(f.response.body == "a/b42inbody");
  CHECK(f.response.header("X-Outer") == "kept");
  CHECK(f.response.headers().size() == 3);
  CHECK(f.response.read_deadline == t.clock.now() + 1s);
  CHECK(own.label == "/orders/{id}");
  CHECK(own.timeout() == 1s);
  CHECK(own.parent != leakwatch::TaskId::kNone);
}

TEST_CASE("P2.9 at the deadline 503, nothing of the handler's, and it is told in every way") {
  Fixture t;
  std::promise<void> go_on;
  std::atomic<bool> stopped{false};
  std::vector<ErrorCode> errors;
  FakeExchange f(t.clock.now());
  f.transport.body = "unread";
  auto done = t.serve(f, [&](ResponseWriter& response, Request& request) {
    response.status(201);
    response.headers().set("X-Leak", "no");
    (void)response.write("half");
    const std::stop_callback on_stop(request.stop_token(), [&] { stopped = true; });
    go_on.get_future().wait();
    errors.push_back(response.write("late").error().code());
    errors.push_back(response.flush().error().code());
    char bytes[4];
    errors.push_back(request.read(bytes).error().code());
    response.headers().set("X-Late", "no");
    response.status(202);
  });
  while (t.pool.stats().running == 0 || t.registry.snapshot().empty()) std::this_thread::yield();
  t.clock.advance(1s - 1ns);
  CHECK(done.wait_for(20ms) == std::future_status::timeout);  // not a unit before
  t.clock.advance(1ns);
  done.get();
  CHECK(f.response.status_code() == 503);
  CHECK(f.response.body == "the handler did not finish in time\n");
  CHECK(f.response.header("X-Leak").empty());
  CHECK(stopped);
  CHECK(t.pool.stats().leaked == 1);
  REQUIRE(t.pool.leaked().size() == 1);
  CHECK(t.pool.leaked()[0].age == 1s);
  CHECK(t.registry.find(t.pool.leaked()[0].task)->timeout() == 1s);  // still a task

  go_on.set_value();
  t.wait_until_empty();
  CHECK(errors == std::vector<ErrorCode>(3, ErrorCode::kDeadlineExceeded));
  CHECK(f.response.body == "the handler did not finish in time\n");
  CHECK(f.response.header("X-Late").empty());
  CHECK(t.pool.stats().timed_out == 1);
  CHECK(t.pool.stats().leaked == 0);
  REQUIRE(t.sink.lines().size() == 1);
  CHECK(t.sink.lines()[0].find("\"msg\":\"handler timed out\"") != std::string::npos);
}

TEST_CASE("an exception in time goes on to whoever is around, later it is logged") {
  Fixture t;
  FakeExchange f;
  CHECK_THROWS_AS(
      t.serve(f, [](ResponseWriter&, Request&) { throw std::runtime_error("x"); }).get(),
      std::runtime_error);

  std::promise<void> go_on;
  auto done = t.serve(f, [&](ResponseWriter&, Request&) {
    go_on.get_future().wait();
    throw std::runtime_error("late");
  });
  while (t.clock.waiters() == 0) std::this_thread::yield();
  t.clock.advance(1s);
  done.get();
  CHECK(f.response.status_code() == 503);
  go_on.set_value();
  t.wait_until_empty();
  REQUIRE(t.sink.lines().size() == 2);
  CHECK(t.sink.lines()[1].find("past its timeout") != std::string::npos);
}

TEST_CASE("the threads are bounded by what has leaked too: 503 with Retry-After, and counted") {
  Fixture t({.threads_max = 1});
  std::promise<void> go_on;
  FakeExchange first;
  auto done = t.serve(first, [&](ResponseWriter&, Request&) { go_on.get_future().wait(); });
  while (t.clock.waiters() == 0) std::this_thread::yield();
  t.clock.advance(1s);
  done.get();
  FakeExchange second;
  bool ran = false;
  const Handler handler = [&](ResponseWriter&, Request&) { ran = true; };
  t.serve(second, handler).get();
  CHECK(second.response.status_code() == 503);
  CHECK(second.response.header("Retry-After") == "1");
  CHECK_FALSE(ran);
  CHECK(t.pool.stats().refused == 1);

  go_on.set_value();
  t.wait_until_empty();
  FakeExchange third;
  t.serve(third, handler).get();
  CHECK(third.response.status_code() == 200);
  CHECK(ran);
}

TEST_CASE("the client's end stops the handler's token, and so does its own return") {
  Fixture t;
  FakeExchange f;
  std::stop_token token;
  auto done = t.serve(f, [&](ResponseWriter& response, Request& request) {
    token = request.stop_token();
    std::promise<void> stopped;
    const std::stop_callback on_stop(token, [&] { stopped.set_value(); });
    f.transport.stop.request_stop();
    stopped.get_future().wait();
    (void)response.write("stopped");
  });
  done.get();
  CHECK(f.response.body == "stopped");

  FakeExchange other;
  t.serve(other, [&](ResponseWriter&, Request& request) { token = request.stop_token(); }).get();
  CHECK(token.stop_requested());
}

TEST_CASE("a response has a bound, and flush says that it cannot") {
  Fixture t;
  const auto ask = [&](std::size_t size) {
    FakeExchange f;
    const Handler handler = [size](ResponseWriter& response, Request&) {
      const Result<void> flushed = response.flush();
      if (flushed.error().code() != ErrorCode::kUnsupported) response.status(400);
      (void)response.write(std::string(size, 'x'));
    };
    handler_timeout(t.pool, TimeoutOptions{.response_bytes_max = 100})(handler)(f.response,
                                                                                f.request);
    return f.response.status_code();
  };
  CHECK(ask(100) == 200);
  CHECK(ask(101) == 500);
}

TEST_CASE("the router may be inside: the route is known outside when the handler was in time") {
  Fixture t;
  Router router(t.registry);
  REQUIRE(router.handle("GET /orders/{id}", [](ResponseWriter&, Request&) {}).ok());
  FakeExchange f;
  t.serve(f, router).get();
  CHECK(f.request.route() == "GET /orders/{id}");
}

TEST_CASE("idle threads are kept up to their number, and used again") {
  Fixture t({.threads_max = 8, .idle_threads_max = 1});
  for (int i = 0; i < 20; ++i) {
    FakeExchange f;
    t.serve(f, [](ResponseWriter&, Request&) {}).get();
  }
  t.wait_until_empty();
  CHECK(t.pool.stats().calls == 20);
  CHECK(t.pool.stats().refused == 0);
}

}  // namespace
}  // namespace vigil::http
