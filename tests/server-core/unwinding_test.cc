// P1.24: a handler that ends in any way but returning: the client is told, nothing of the exception
// gets out, and the server goes on.
#include <pthread.h>

#include <stdexcept>

#include "server-core/handler_timeout.h"
#include "server-core/recoverer.h"
#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;
using http::Handler;
using http::Request;
using http::ResponseWriter;

namespace {

void exit_thread(ResponseWriter&, Request&) { pthread_exit(nullptr); }

void cancel_thread(ResponseWriter&, Request&) {
  pthread_cancel(pthread_self());
  pthread_testcancel();
}

// Cancelled after the head is out.
void cancel_in_body(ResponseWriter& response, Request&) {
  (void)response.write("half");
  (void)response.flush();
  pthread_cancel(pthread_self());
  pthread_testcancel();
}

struct Foreign {
  std::string secret = "secret";
};

void throw_foreign(ResponseWriter&, Request&) { throw Foreign(); }
void throw_number(ResponseWriter&, Request&) { throw 4711; }
void throw_text(ResponseWriter&, Request&) { throw "secret"; }
void throw_runtime_error(ResponseWriter& response, Request&) {
  response.headers().set("X-Half", "secret");
  (void)response.write("secret half");
  throw std::runtime_error("secret");
}
void abort_handler(ResponseWriter&, Request&) { throw http::AbortHandler{}; }

struct Way {
  const char* name;
  void (*handler)(ResponseWriter&, Request&);
};

constexpr Way kCancellations[] = {
    {"exit", exit_thread}, {"cancel", cancel_thread}, {"cancel in the body", cancel_in_body}};
constexpr Way kExceptions[] = {{"foreign", throw_foreign},
                               {"number", throw_number},
                               {"text", throw_text},
                               {"runtime_error", throw_runtime_error}};

void add_way(http::Router& router, Handler handler) { add(router, "GET /way", std::move(handler)); }

bool serves_others(TestServer& server) {
  for (int i = 0; i < 20; ++i) {
    if (server.get("/hello") != "200 hello\n") return false;
  }
  return true;
}

void prove_short(TestServer& server) {
  RawClient client = server.connect();
  for (int i = 0; i < 200; ++i) {
    client.send(get_request("/hello"));
    (void)client.read_response();
  }
}

}  // namespace

TEST_CASE("P1.24: the unwinding of a cancelled thread closes the connection, the server goes on") {
  for (const Way& way : kCancellations) {
    INFO(way.name);
    TestServer server(test_options(), [&](http::Router& router) { add_way(router, way.handler); });
    prove_short(server);
    for (int i = 0; i < 5; ++i) {
      RawClient client = server.connect();
      client.send(get_request("/way"));
      const RawResponse response = client.read_response();
      CHECK_FALSE(response.complete);
      CHECK(client.ended());
    }
    CHECK(serves_others(server));
    CHECK(eventually([&] { return server.stats().connections.handling == 0; }));
    CHECK(eventually([&] { return server.registry.counters().live == 0; }));
  }
}

TEST_CASE("P1.24: a handler that is cancelled where it had proved short, while it polls") {
  std::atomic<bool> cancel{false};
  auto options = test_options();
  options.pollers = 1;
  TestServer server(options, [&](http::Router& router) {
    add_way(router, [&](ResponseWriter& response, Request& request) {
      if (cancel.exchange(false)) exit_thread(response, request);
    });
  });
  RawClient client = server.connect();
  const auto ran_inline = [&] { return server.stats().ran_inline; };
  const bool proved = eventually([&] {
    client.send(get_request("/way"));
    return client.read_response().status == 200 && ran_inline() > 10;
  });
  REQUIRE(proved);
  cancel = true;
  client.send(get_request("/way"));
  CHECK(client.read_response().status == 0);
  CHECK(serves_others(server));
}

TEST_CASE("P1.24: cancellation passes a recoverer and ends a handler under a timeout with 500") {
  for (const Way& way : kCancellations) {
    INFO(way.name);
    SystemClock clock;
    QuietSink sink;
    leakwatch::TaskRegistry registry(clock);
    http::TimeoutPool pool(registry, sink, clock);
    TestServer server(test_options(), [&](http::Router& router) {
      add_way(router, http::recoverer({.sink = &sink})(way.handler));
      add(router, "GET /timed", http::handler_timeout(pool, 10s)(way.handler));
    });
    RawClient bare = server.connect();
    bare.send(get_request("/way"));
    CHECK_FALSE(bare.read_response().complete);
    CHECK_FALSE(sink.saw("exception from a handler"));
    for (int i = 0; i < 3; ++i) CHECK(server.get("/timed") == "500 Internal Server Error\n");
    CHECK(eventually([&] { return pool.stats().running == 0; }));
    CHECK(serves_others(server));
  }
}

TEST_CASE("P1.24: whatever is thrown, the answer is 500 and has nothing of it") {
  for (const Way& way : kExceptions) {
    INFO(way.name);
    TestServer server(test_options(), [&](http::Router& router) { add_way(router, way.handler); });
    RawClient client = server.connect();
    for (int i = 0; i < 3; ++i) {
      client.send(get_request("/way"));
      const RawResponse response = client.read_response();
      CHECK(response.status == 500);
      CHECK(response.complete);
      CHECK((response.head + response.body).find("secret") == std::string::npos);
      CHECK((response.head + response.body).find("4711") == std::string::npos);
    }
    client.send(get_request("/hello"));
    CHECK(client.read_response().status == 200);
    CHECK(server.stats().handler_exceptions == 3);
    CHECK(server.sink.count("exception from a handler") == 3);
  }
}

TEST_CASE("AbortHandler ends a handler without a line in the log, as Go's ErrAbortHandler does") {
  TestServer server(test_options(), [](http::Router& router) {
    add_way(router, abort_handler);
    add(router, "GET /half", [](ResponseWriter& response, Request& request) {
      (void)response.write("half");
      (void)response.flush();
      abort_handler(response, request);
    });
  });
  CHECK(server.get("/way") == "500 Internal Server Error\n");
  RawClient client = server.connect();
  client.send(get_request("/half"));
  CHECK_FALSE(client.read_response().complete);
  CHECK(client.ended());
  CHECK(server.sink.lines() == 0);
}
