// A request's context and its parts on real connections.
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

inline constexpr ContextKey<std::string> kService("service");
inline constexpr ContextKey<std::uint64_t> kConnection("connection");

std::string post(const std::string& path, const std::string& fields, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// Waits for the token, 10 s at most, and keeps the moment.
struct StopWatch {
  std::atomic<bool> waiting{false};
  std::atomic<std::int64_t> stopped_ns{0};

  void wait(const std::stop_token& token) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock lock(mutex);
    waiting = true;
    changed.wait_for(lock, token, 10s, [] { return false; });
    if (token.stop_requested()) {
      stopped_ns = std::chrono::steady_clock::now().time_since_epoch().count();
    }
  }
  Duration after(std::chrono::steady_clock::time_point begin) const {
    return Duration(stopped_ns.load()) - begin.time_since_epoch();
  }
};

}  // namespace

TEST_CASE("P0: a context is stopped within 100 ms of its client's going away") {
  // The first request of a route runs on the polling thread, the others on one of their own.
  StopWatch watches[5];
  std::vector<Duration> took;
  std::atomic<int> next{0};
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /watch",
        [&](auto&, Request& request) { watches[next++].wait(request.context().stop_token()); });
  });
  for (StopWatch& watch : watches) {
    RawClient client = server.connect();
    client.send(get_request("/watch"));
    REQUIRE(eventually([&] { return watch.waiting.load(); }));
    const auto begin = std::chrono::steady_clock::now();
    client.close();
    REQUIRE(eventually([&] { return watch.stopped_ns != 0; }));
    took.push_back(watch.after(begin));
  }
  // The median: on a busy machine the scheduler alone can take that long once.
  std::sort(took.begin(), took.end());
  CHECK(took[2] < 100ms);
  CHECK(took[4] < 2s);
}

TEST_CASE("a context is stopped when its handler returns, and not before") {
  Context kept;
  std::atomic<bool> stopped_inside{true};
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /keep", [&](auto&, Request& request) {
      kept = request.context().with_value(kService, "kept");
      stopped_inside = kept.stopped();
    });
  });
  RawClient client = server.connect();
  client.send(get_request("/keep") + get_request("/hello"));
  CHECK(client.read_response().status == 200);
  CHECK(client.read_response().body == "hello\n");
  CHECK_FALSE(stopped_inside);
  CHECK(kept.stopped());
  CHECK(*kept.value(kService) == "kept");
  CHECK(kept.deadline() != kNoDeadline);
}

TEST_CASE("a context is stopped when the server's write deadline passes") {
  StopWatch watch;
  auto options = test_options();
  options.write_timeout = 300ms;
  TestServer server(options, [&](Router& router) {
    add(router, "GET /watch", [&](auto&, Request& r) { watch.wait(r.context().stop_token()); });
  });
  const auto begin = std::chrono::steady_clock::now();
  CHECK(server.get("/watch").starts_with("0"));
  REQUIRE(eventually([&] { return watch.stopped_ns != 0; }));
  CHECK(watch.after(begin) >= 290ms);
  CHECK(watch.after(begin) < 3s);
}

TEST_CASE("a context is stopped when middleware's deadline passes, and the response has its own") {
  StopWatch watch;
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /narrow", [&](ResponseWriter& response, Request& request) {
      const Context narrow = request.context().with_deadline(request.start_time() + 50ms);
      const ContextScope scope(request, narrow);
      watch.wait(request.stop_token());
      (void)response.write(request.stop_token().stop_requested() ? "in time" : "never");
    });
  });
  const auto begin = std::chrono::steady_clock::now();
  CHECK(server.get("/narrow") == "200 in time");
  CHECK(watch.after(begin) >= 50ms);
  CHECK(watch.after(begin) < 3s);
}

TEST_CASE("P2.8: a write deadline that a handler moves nearer cuts the connection in time") {
  StopWatch watch;
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /moved", [&](ResponseWriter& response, Request& request) {
      response.set_write_deadline(request.start_time() + 20s);
      response.set_write_deadline(request.start_time() + 50ms);
      watch.wait(request.stop_token());
    });
    add(router, "GET /back", [&](ResponseWriter& response, Request& request) {
      // Far enough for a thread that does not run for a while between the two.
      response.set_write_deadline(request.start_time() + 500ms);
      response.set_write_deadline(request.start_time() + 20s);
      std::this_thread::sleep_for(600ms);
      (void)response.write(request.stop_token().stop_requested() ? "cut" : "there");
    });
  });
  const auto begin = std::chrono::steady_clock::now();
  CHECK(server.get("/moved").starts_with("0"));
  REQUIRE(eventually([&] { return watch.stopped_ns != 0; }));
  CHECK(watch.after(begin) >= 50ms);
  CHECK(watch.after(begin) < 2s);
  // Counted when the handler has ended.
  CHECK(eventually([&] { return server.stats().timeouts.write == 1; }));
  CHECK(server.get("/back") == "200 there");
}

TEST_CASE(
    "P2.8: an upload moves its read deadline on while it makes progress, and stops when not") {
  auto options = test_options();
  options.read_timeout = 200ms;
  TestServer server(options, [&](Router& router) {
    add(router, "POST /upload", [&](ResponseWriter& response, Request& request) {
      char bytes[64 * 1024];
      std::size_t total = 0;
      while (true) {
        response.set_read_deadline(std::chrono::steady_clock::now() + 1s);
        const Result<std::size_t> got = request.read(bytes);
        if (!got) return write_error(response, body_error_status(got.error()));
        if (*got == 0) break;
        total += *got;
      }
      (void)response.write(std::to_string(total));
    });
  });
  const auto upload = [&](int pieces) {
    RawClient client = server.connect();
    client.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    for (int i = 0; i < pieces; ++i) {
      client.send(std::string(20'000, 'u'));
      std::this_thread::sleep_for(80ms);  // the client's own pace: 5 of them exceed read_timeout
    }
    const RawResponse response = client.read_response();
    return std::to_string(response.status) + " " + response.body;
  };
  CHECK(upload(5) == "200 100000");
  CHECK(upload(3).starts_with("408"));
}

TEST_CASE("a context is stopped when the server is forced down, and with the base context") {
  StopWatch watch;
  std::stop_source base;
  auto options = test_options();
  options.base_context = Context().with_stop(base.get_token()).with_value(kService, "orders");
  std::atomic<bool> service_seen{false};
  TestServer server(options, [&](Router& router) {
    add(router, "GET /watch", [&](auto&, Request& request) {
      const Context context = request.context();
      service_seen = context.value(kService) && *context.value(kService) == "orders";
      watch.wait(context.stop_token());
    });
  });
  RawClient client = server.connect();
  client.send(get_request("/watch"));
  REQUIRE(eventually([&] { return watch.waiting.load(); }));
  CHECK(watch.stopped_ns == 0);
  base.request_stop();
  CHECK(eventually([&] { return watch.stopped_ns != 0; }));
  CHECK(service_seen);
  CHECK(client.read_response().status == 200);  // stopped is not cut

  StopWatch second;
  TestServer forced(test_options(), [&](Router& router) {
    add(router, "GET /watch",
        [&](auto&, Request& request) { second.wait(request.context().stop_token()); });
  });
  RawClient other = forced.connect();
  other.send(get_request("/watch"));
  REQUIRE(eventually([&] { return second.waiting.load(); }));
  forced->close();
  CHECK(eventually([&] { return second.stopped_ns != 0; }));
}

TEST_CASE("conn_context: once a connection, from the base context, an exception does no harm") {
  auto options = test_options();
  options.base_context = Context().with_value(kService, "orders");
  std::atomic<int> calls{0};
  options.conn_context = [&](const Context& base, const ConnInfo& connection) {
    if (++calls == 3) throw std::runtime_error("no");
    return base.with_value(kConnection, connection.id);
  };
  TestServer server(options, [&](Router& router) {
    add(router, "GET /who", [&](ResponseWriter& response, Request& request) {
      const Context context = request.context();
      const std::uint64_t* id = context.value(kConnection);
      (void)response.write(*context.value(kService) + " " + (id ? std::to_string(*id) : "-"));
    });
  });
  RawClient first = server.connect();
  first.send(get_request("/who") + get_request("/who"));
  CHECK(first.read_response().body == "orders 1");
  CHECK(first.read_response().body == "orders 1");
  CHECK(server.get("/who") == "200 orders 2");
  CHECK(server.get("/who") == "200 orders -");
  CHECK(calls == 3);
  CHECK(server.sink.saw("exception from conn_context"));
}

TEST_CASE("path values, query and form end to end") {
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /orders/{id}", [](ResponseWriter& response, Request& request) {
      (void)response.write(std::string(*request.path_value("id")) + "|" +
                           std::string(request.query("q").value_or("-")));
    });
    add(router, "POST /orders/{id}", [](ResponseWriter& response, Request& request) {
      Result<const QueryParams*> form = request.form(100);
      if (!form) return write_error(response, body_error_status(form.error()));
      (void)response.write(std::string(*request.path_value("id")) + "|" +
                           std::string((*form)->get("q").value_or("-")));
    });
  });
  CHECK(server.get("/orders/7") == "200 7|-");
  CHECK(server.get("/orders/a%2Fb?q=x+y") == "200 a/b|x y");
  RawClient client = server.connect();
  const std::string type = "Content-Type: application/x-www-form-urlencoded\r\n";
  client.send(post("/orders/8?q=query", type, "q=f%26m"));
  CHECK(client.read_response().body == "8|f&m");
  client.send(post("/orders/8", "Content-Type: text/plain\r\n", "q=1"));
  CHECK(client.read_response().status == 415);
  client.send(post("/orders/8", type, "q=" + std::string(99, 'a')));
  const RawResponse refused = client.read_response();
  CHECK(refused.status == 413);
  CHECK(refused.header("connection") == "close");
}

TEST_CASE("limit_body: 413 if the handler says nothing, its own answer if it does, never a 100") {
  TestServer server(test_options(), [&](Router& router) {
    add(router, "POST /silent", [](auto&, Request& request) {
      request.limit_body(10);
      (void)request.read_all(1000);
    });
    add(router, "POST /speaks", [](ResponseWriter& response, Request& request) {
      request.limit_body(10);
      response.status(request.read_all(1000) ? 200 : 422);
    });
  });
  const auto ask = [&](const std::string& path, const std::string& fields, std::size_t size) {
    RawClient client = server.connect();
    client.send(post(path, fields, std::string(size, 'b')));
    const RawResponse response = client.read_response();
    return std::to_string(response.status) + " " + response.header("connection");
  };
  CHECK(ask("/silent", "", 10) == "200 ");
  CHECK(ask("/silent", "", 11) == "413 close");
  CHECK(ask("/silent", "", 300'000) == "413 close");
  CHECK(ask("/speaks", "", 11) == "422 close");
  RawClient expects = server.connect();
  expects.send(
      "POST /silent HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
      "Content-Length: 11\r\n\r\n");
  CHECK(expects.read_response().status == 413);
  RawClient chunked = server.connect();
  chunked.send(
      "POST /silent HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "b\r\n0123456789a\r\n0\r\n\r\n");
  CHECK(chunked.read_response().status == 413);
  CHECK(chunked.closed_within(5s));
}
