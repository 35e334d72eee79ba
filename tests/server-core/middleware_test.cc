// Middleware without sockets: chain, request id, access log, recoverer, in-flight limit, metrics.

#include "server-core/middleware.h"

#include <nlohmann/json.hpp>

#include "base/fake_clock.h"
#include "server-core/handler_metrics.h"
#include "server-core/in_flight_limit.h"
#include "server-core/recoverer.h"
#include "server-core/request_log.h"
#include "server-core/router.h"
#include "tests/server-core/fake_exchange.h"
#include "tests/support/catch.h"
#include "tests/support/recording_sink.h"

namespace vigil::http {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::FakeExchange;

void ok(ResponseWriter& response, Request&) { (void)response.write("fine"); }

void throws(ResponseWriter& response, Request&) {
  response.headers().set("X-Half", "yes");
  (void)response.write("half an answer");
  throw std::runtime_error("secret text");
}

json record(const RecordingSink& sink, std::size_t index) {
  return json::parse(sink.lines().at(index));
}

TEST_CASE("chain: the first is the outermost") {
  std::string order;
  const auto named = [&](std::string name) -> Middleware {
    return [&order, name](Handler next) -> Handler {
      return [&order, name, next](ResponseWriter& response, Request& request) {
        order += name + "(";
        next(response, request);
        order += ")" + name;
      };
    };
  };
  FakeExchange f;
  chain([&](ResponseWriter&, Request&) { order += "handler"; }, {named("a"), named("b")})(
      f.response, f.request);
  CHECK(order == "a(b(handler)b)a");
}

TEST_CASE("a request id is a bounded token") {
  CHECK(is_request_id("0b5c2d9e-77aa_1.2"));
  CHECK(is_request_id(std::string(kRequestIdBytesMax, 'a')));
  CHECK_FALSE(is_request_id(std::string(kRequestIdBytesMax + 1, 'a')));
  for (const char* bad : {"", "a b", "a\nb", "a\"b", "{}", "\xff"}) {
    INFO(bad);
    CHECK_FALSE(is_request_id(bad));
  }
}

TEST_CASE("the request id is the client's if it is sane, else a new one, and the response has it") {
  RecordingSink sink;
  std::string seen;
  const Handler handler =
      chain([&](ResponseWriter&, Request& request) { seen = request_id(request); },
            {with_request_id(sink)});
  const auto id_for = [&](const char* given) {
    FakeExchange f({}, "/", {{"x-request-id", given}});
    handler(f.response, f.request);
    CHECK(f.response.header("X-Request-Id") == seen);
    CHECK(request_id(f.request).empty());  // gone with the handler
    return seen;
  };
  CHECK(id_for("abc-1") == "abc-1");
  const std::string first = id_for("forged\" id");
  const std::string second = id_for("");
  CHECK(is_request_id(first));
  CHECK(first.size() >= 18);
  CHECK(first != second);
}

TEST_CASE("the access log has one structured record, without the query") {
  FakeClock clock;
  RecordingSink sink;
  leakwatch::TaskRegistry registry(clock);
  Router router(registry);
  REQUIRE(router
              .handle("GET /orders/{id}",
                      [&](ResponseWriter& response, Request&) {
                        clock.advance(1500us);
                        response.status(201);
                        (void)response.write("fine");
                      })
              .ok());
  FakeExchange f(clock.now(), "/orders/7?card=4242", {{"X-Request-Id", "id-1"}});
  chain(router, {with_request_id(sink), access_log(sink, clock)})(f.response, f.request);
  REQUIRE(sink.lines().size() == 1);
  const json line = record(sink, 0);
  CHECK(line["source"] == "access");
  CHECK(line["level"] == "info");
  CHECK(line["method"] == "GET");
  CHECK(line["path"] == "/orders/7");
  CHECK(line["route"] == "GET /orders/{id}");
  CHECK(line["status"] == 201);
  CHECK(line["duration_us"] == 1500);
  CHECK(line["bytes"] == 4);
  CHECK(line["request_id"] == "id-1");
  CHECK(line["peer"] == "127.0.0.1:4711");
  CHECK_FALSE(line.contains("aborted"));
  CHECK(sink.lines()[0].find("4242") == std::string::npos);
}

TEST_CASE("the access log says what a client of a failed handler got") {
  FakeClock clock;
  RecordingSink sink;
  const Handler handler = chain(throws, {access_log(sink, clock)});
  FakeExchange before;
  CHECK_THROWS_AS(handler(before.response, before.request), std::runtime_error);
  CHECK(record(sink, 0)["status"] == 500);
  CHECK(record(sink, 0)["aborted"] == true);
  FakeExchange after;
  after.response.sent = true;
  CHECK_THROWS_AS(handler(after.response, after.request), std::runtime_error);
  CHECK(record(sink, 1)["status"] == 200);
  CHECK(record(sink, 1)["aborted"] == true);
}

TEST_CASE("a long path is cut in the access log") {
  FakeClock clock;
  RecordingSink sink;
  FakeExchange f({}, "/" + std::string(5000, 'a'));
  chain(ok, {access_log(sink, clock)})(f.response, f.request);
  CHECK(record(sink, 0)["path"].get<std::string>().size() == kLoggedPathBytesMax);
}

TEST_CASE("a handler's logger adds request id and route to its own fields") {
  FakeClock clock;
  RecordingSink sink;
  leakwatch::TaskRegistry registry(clock);
  Router router(registry);
  REQUIRE(router
              .handle("/orders/{id}",
                      [&](ResponseWriter&, Request& request) {
                        RequestLog(request, "billing").warn("refused", {{"amount", 12}});
                      })
              .ok());
  FakeExchange f({}, "/orders/7", {{"X-Request-Id", "id-1"}});
  chain(router, {with_request_id(sink)})(f.response, f.request);
  REQUIRE(sink.lines().size() == 1);
  const json line = record(sink, 0);
  CHECK(line["source"] == "billing");
  CHECK(line["level"] == "warn");
  CHECK(line["amount"] == 12);
  CHECK(line["request_id"] == "id-1");
  CHECK(line["route"] == "/orders/{id}");
  FakeExchange without;
  router(without.response, without.request);
  CHECK(sink.lines().size() == 1);
}

TEST_CASE("P1.24 recoverer: 500 without the exception's text, and a record that has all of it") {
  RecordingSink sink;
  const auto stack = [](const std::exception_ptr&) { return std::string("demo::thrower(...)\n"); };
  FakeExchange f({}, "/orders/7?card=4242", {{"X-Request-Id", "id-1"}});
  chain(throws, {with_request_id(sink), recoverer({&sink, stack})})(f.response, f.request);
  CHECK(f.response.status_code() == 500);
  CHECK(f.response.body == "Internal Server Error\n");
  CHECK(f.response.header("X-Half").empty());
  CHECK(f.response.header("X-Request-Id") == "id-1");
  REQUIRE(sink.lines().size() == 1);
  const json line = record(sink, 0);
  CHECK(line["level"] == "error");
  CHECK(line["source"] == "recoverer");
  CHECK(line["exception"] == "std::runtime_error");
  CHECK(line["what"] == "secret text");
  CHECK(line["path"] == "/orders/7");
  CHECK(line["request_id"] == "id-1");
  CHECK(line["stack"] == "demo::thrower(...)\n");
}

TEST_CASE("recoverer: once the head is out the response is aborted, not mixed with another") {
  RecordingSink sink;
  FakeExchange f;
  const Handler handler = chain(
      [](ResponseWriter& response, Request&) {
        (void)response.write("begun");
        (void)response.flush();
        throw 42;
      },
      {recoverer({&sink})});
  CHECK_THROWS_AS(handler(f.response, f.request), AbortHandler);
  CHECK(f.response.body == "begun");
  REQUIRE(sink.lines().size() == 1);
  CHECK(record(sink, 0)["exception"] == "int");
}

TEST_CASE("recoverer: AbortHandler passes without a record") {
  RecordingSink sink;
  FakeExchange f;
  const Handler handler =
      chain([](ResponseWriter&, Request&) { throw AbortHandler{}; }, {recoverer({&sink})});
  CHECK_THROWS_AS(handler(f.response, f.request), AbortHandler);
  CHECK(sink.lines().empty());
}

TEST_CASE("limit_in_flight: one too many of the routes that share it gets 503 with Retry-After") {
  const auto limit =
      std::make_shared<InFlightLimit>(InFlightLimit::Options{.max = 2, .retry_after = 3s});
  const Handler inner = limit_in_flight(limit)(ok);
  std::vector<int> statuses;
  // Each level is one more request in flight.
  Handler nested = inner;
  for (int i = 0; i < 2; ++i) {
    nested = limit_in_flight(limit)([nested, &statuses](ResponseWriter&, Request&) {
      FakeExchange f;
      nested(f.response, f.request);
      statuses.push_back(f.response.status_code());
      if (f.response.status_code() == 503) {
        statuses.push_back(std::stoi(f.response.header("Retry-After")));
      }
    });
  }
  FakeExchange f;
  nested(f.response, f.request);
  CHECK(statuses == std::vector<int>{503, 3, 200});
  CHECK(limit->now() == 0);
  CHECK(limit->refused() == 1);
}

TEST_CASE("limit_in_flight: a handler that throws gives its place back") {
  const auto limit = std::make_shared<InFlightLimit>(InFlightLimit::Options{.max = 1});
  FakeExchange f;
  CHECK_THROWS(limit_in_flight(limit)(throws)(f.response, f.request));
  CHECK(limit->now() == 0);
}

TEST_CASE("handler metrics: classes of status and duration, their bounds inclusive") {
  HandlerMetrics metrics;
  metrics.record(200, 100us);
  metrics.record(204, 100us + 1ns);
  metrics.record(404, 10s);
  metrics.record(503, 10s + 1ns);
  metrics.record(999, 0ns);
  const HandlerStats stats = metrics.read();
  CHECK(stats.status_classes == std::array<std::uint64_t, 6>{1, 0, 2, 0, 1, 1});
  CHECK(stats.durations.front() == 2);
  CHECK(stats.durations[1] == 1);
  CHECK(stats.durations[HandlerStats::kBounds.size() - 1] == 1);
  CHECK(stats.durations.back() == 1);
  CHECK(stats.total == 20s + 200us + 2ns);
  CHECK(stats.requests() == 5);
}

}  // namespace
}  // namespace vigil::http
