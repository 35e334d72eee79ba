// P1.24: a handler that ends by an exception: the client is told, nothing of the exception gets out,
// and the server goes on. cancellation_test.cc has the other way.
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

constexpr Way kExceptions[] = {{"foreign", throw_foreign},
                               {"number", throw_number},
                               {"text", throw_text},
                               {"runtime_error", throw_runtime_error}};

void add_way(http::Router& router, Handler handler) { add(router, "GET /way", std::move(handler)); }

}  // namespace

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
