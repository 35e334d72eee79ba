// P1.24: a handler whose thread is cancelled: its connection goes, and the server goes on. Not under the address sanitizer,
// which does not know of a forced unwinding, and takes frames that it has left for live ones.
#include <pthread.h>

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

struct Way {
  const char* name;
  void (*handler)(ResponseWriter&, Request&);
};

constexpr Way kCancellations[] = {
    {"exit", exit_thread}, {"cancel", cancel_thread}, {"cancel in the body", cancel_in_body}};
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
