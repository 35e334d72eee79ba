// Middleware on a real server: what the client on the other side of the socket sees.

#include <optional>

#include "server-core/handler_timeout.h"
#include "server-core/middleware.h"
#include "server-core/mount.h"
#include "server-core/recoverer.h"
#include "server-core/request_log.h"
#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

namespace vigil::test {
namespace {

using namespace std::chrono_literals;
using http::Request;
using http::ResponseWriter;
using Clock = std::chrono::steady_clock;

constexpr auto kTimeout = 300ms;

// A server with routes under a timeout: GET /late waits in `gate`, POST /upload reads all.
struct Timed {
  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry{clock};
  http::TimeoutPool pool{registry, sink, clock};
  Gate gate;
  std::atomic<int> late_writes_refused{0};
  std::atomic<int> read_errors{0};
  TestServer server{test_options(), [this](http::Router& router) { add_routes(router); }};

  ~Timed() { gate.open(); }

  void add_routes(http::Router& router) {
    const http::Middleware timeout = http::handler_timeout(pool, kTimeout);
    add(router, "GET /late", timeout([this](ResponseWriter& response, Request&) {
          response.headers().set("X-Leak", "no");
          (void)response.write("half");
          gate.wait();
          late_writes_refused += response.write("late").ok() ? 0 : 1;
        }));
    add(router, "POST /upload", timeout([this](ResponseWriter& response, Request& request) {
          const auto body = request.read_all(1 << 20);
          if (!body) {
            ++read_errors;
            return;
          }
          (void)response.write(std::to_string(body->size()));
        }));
  }
};

TEST_CASE("P2.9 a late handler: 503 at the deadline, and the connection goes on without a trace") {
  Timed t;
  RawClient client = t.server.connect();
  const auto begin = Clock::now();
  client.send(get_request("/late"));
  const RawResponse late = client.read_response();
  const auto took = Clock::now() - begin;
  CHECK(late.status == 503);
  CHECK(late.body == "the handler did not finish in time\n");
  CHECK(late.header("x-leak").empty());
  CHECK(took >= kTimeout);
  CHECK(took < 2s);
  CHECK(t.pool.stats().leaked == 1);

  client.send(get_request("/hello"));
  CHECK(client.read_response().body == "hello\n");
  t.gate.open();
  CHECK(eventually([&] { return t.pool.stats().running == 0; }));
  CHECK(t.late_writes_refused == 1);
  client.send(get_request("/hello"));
  const RawResponse after = client.read_response();
  CHECK(after.status == 200);
  CHECK(after.body == "hello\n");
}

TEST_CASE("under a timeout a body is read as ever, and one that stalls is not waited for") {
  Timed t;
  RawClient client = t.server.connect();
  const std::string body(200'000, 'b');
  client.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + body);
  CHECK(client.read_response().body == "200000");

  // Chunked, so the engine does not collect it.
  client.send("POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
  const auto begin = Clock::now();
  const RawResponse late = client.read_response();
  CHECK(late.status == 503);
  CHECK(late.header("connection") == "close");
  CHECK(Clock::now() - begin < 2s);
  CHECK(eventually([&] { return t.read_errors == 1; }));
}

TEST_CASE("P1.24 recoverer on a socket: 500 and the connection goes on, cut once the head is out") {
  QuietSink sink;
  TestServer server(test_options(), [&](http::Router& router) {
    const http::Middleware recover = http::recoverer({&sink});
    add(router, "GET /boom", recover([](ResponseWriter& response, Request&) {
          response.headers().set("X-Half", "yes");
          (void)response.write("half");
          throw std::runtime_error("secret text");
        }));
    add(router, "GET /boom-late", recover([](ResponseWriter& response, Request&) {
          (void)response.write("half");
          (void)response.flush();
          throw std::runtime_error("secret text");
        }));
  });
  RawClient client = server.connect();
  client.send(get_request("/boom"));
  const RawResponse error = client.read_response();
  CHECK(error.status == 500);
  CHECK(error.body == "Internal Server Error\n");
  CHECK(error.header("x-half").empty());
  client.send(get_request("/boom-late"));
  const RawResponse cut = client.read_response();
  CHECK(cut.status == 200);
  CHECK_FALSE(cut.complete);
  CHECK(client.ended());
  CHECK(sink.saw("\"what\":\"secret text\""));
  CHECK_FALSE(server.sink.saw("secret text"));  // logged once, not by the engine again
}

TEST_CASE("each route counts its requests by status class, and what no route answered is counted") {
  std::optional<http::Router> routes;
  TestServer server(test_options(), [&](http::Router& router) { routes = router; });
  (void)server.get("/hello");
  (void)server.get("/hello");
  (void)server.get("/throw");
  (void)server.get("/nothing");
  const auto of = [&](std::string_view pattern) {
    for (const http::RouteStats& route : routes->stats()) {
      if (route.pattern == pattern) return route.handler;
    }
    return http::HandlerStats();
  };
  // Counted when the handler has returned, which may be after the client has its answer.
  CHECK(eventually([&] { return server.stats().unrouted.requests() == 1; }));
  CHECK(of("GET /hello").status_classes[2] == 2);
  CHECK(of("GET /hello").requests() == 2);
  CHECK(of("GET /throw").status_classes[5] == 1);
  CHECK(server.stats().unrouted.status_classes[4] == 1);
}

TEST_CASE(
    "under a timeout trailers are buffered, 1xx, flush and hijack are unsupported, as in Go") {
  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry(clock);
  http::TimeoutPool pool(registry, sink, clock);
  Notes notes;
  TestServer server(test_options(), [&](http::Router& router) {
    add(router, "GET /trailers",
        http::handler_timeout(pool, 10s)([&](ResponseWriter& response, Request&) {
          (void)response.write("body");
          notes.add(response.set_trailer("X-Sum", "42"));
          notes.add(response.set_trailer("Content-Length", "1"));
          notes.add(response.set_trailer("X-Bad", "1\r\nX-Evil: 2"));
          notes.add(response.inform(103, http::HeaderMap()));
          notes.add(response.flush());
          notes.add(response.hijack());
        }));
  });
  RawClient client = server.connect();
  client.send("GET /trailers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string text = client.read_to_end();
  CHECK(text.ends_with("\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n"));
  CHECK(text.find("\r\nTrailer: X-Sum\r\n") != std::string::npos);
  CHECK(notes.take() == "ok invalid_argument invalid_argument unsupported unsupported unsupported");
  RawClient old = server.connect();
  old.send("GET /trailers HTTP/1.0\r\n\r\n");
  CHECK(old.read_to_end().ends_with("\r\n\r\nbody"));
  CHECK(notes.take().starts_with("unsupported"));
}

TEST_CASE("under a timeout a handler sees the path that strip_prefix leaves") {
  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry(clock);
  http::TimeoutPool pool(registry, sink, clock);
  TestServer server(test_options(), [&](http::Router& router) {
    add(router, "/api/",
        http::strip_prefix("/api")(http::handler_timeout(
            pool, 10s)([](ResponseWriter& response, Request& request) {
          (void)response.write(std::string(request.path()) + " " + std::string(request.raw_path()) +
                               " " + std::string(request.target()));
        })));
  });
  CHECK(server.get("/api/a%20b?x") == "200 /a b /a%20b /api/a%20b?x");
}

}  // namespace
}  // namespace vigil::test
