// HTTP/2 over sockets, in clear text: what a client gets, and what the server keeps to.
#include "server-core/body_limit.h"
#include "tests/server-core/http2_server.h"
#include "tests/support/catch.h"
#include "tests/support/http2_battery.h"

namespace {

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;
using http::Request;
using http::ResponseWriter;

// What /hello answers, or the part that came, to a client whose preface comes byte by byte.
std::string body_behind_slow_preface(TestServer& server) {
  RawClient slow = server.connect();
  for (char c : h2::kPreface) slow.send({&c, 1});
  slow.send(h2::settings() + h2::get(1, "/hello"));
  h2::Reader reader;
  while (reader.response(1).body != "hello\n" && slow.receive()) reader.feed(slow.take_received());
  return reader.response(1).body;
}

}  // namespace

TEST_CASE("P5.1 P5.5 the battery, against a server") {
  TestServer server(h2_options());
  for (const h2::Case& each : h2::battery()) {
    INFO(each.section << ": " << each.name);
    Http2Client client = connect(server);
    REQUIRE(client.until([&] { return !client.reader.settings().empty(); }));
    client.send(each.sent);
    std::string text;
    CHECK(client.until([&] {
      text += client.reader.take_text();
      return h2::satisfies(text, each.expected);
    }));
    INFO(text);
    CHECK(client.reader.sound());
    const bool ends =
        each.expected.rfind("GOAWAY", 0) == 0 && each.expected.find('|') == std::string::npos;
    if (ends) CHECK(client.closes());
    if (each.expected.find("HEADERS 1 400") != std::string::npos) {
      CHECK(client.reader.response(1).status != 200);
    }
  }
  server.gate.open();
  CHECK(server.get("/hello") == "200 hello\n");
}

TEST_CASE("P5.1 what comes in the place of the preface, against a server") {
  TestServer server(h2_options());
  for (const h2::Case& each : h2::preface_battery()) {
    INFO(each.name);
    RawClient raw = server.connect();
    raw.send(each.sent);
    h2::Reader reader;
    std::string text;
    while (!h2::satisfies(text, each.expected) && raw.receive()) {
      reader.feed(raw.take_received());
      text += reader.take_text();
    }
    INFO(text);
    CHECK(h2::satisfies(text, each.expected));
  }
  // A preface in pieces, and what only begins like one.
  CHECK(body_behind_slow_preface(server) == "hello\n");
  RawClient other = server.connect();
  other.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
  CHECK(other.read_response().status == 505);
}

TEST_CASE("without http2_cleartext the preface is no HTTP/2") {
  TestServer server;
  RawClient client = server.connect();
  client.send(h2::kPreface + h2::settings());
  CHECK(client.read_response().status == 505);
  CHECK(client.closed_within(RawClient::kLimit));
}

TEST_CASE("a port of HTTP/2's alone: HTTP/1.1 gets 400 in clear text, and is closed") {
  http::ServerOptions options = h2_options();
  options.http1 = http::Http1::kRefused;
  TestServer server(options);
  // A whole request, a first byte, what only begins like the preface, and no HTTP at all.
  for (const std::string& sent : {get_request("/hello"), std::string("PRI * HTTP/2.0\r\n\r\nXX"),
                                  std::string("\x16\x03\x01 hello"), std::string("G")}) {
    INFO(sent);
    RawClient client = server.connect();
    client.send(sent);
    const RawResponse response = client.read_response();
    CHECK(response.status == 400);
    CHECK(response.header("connection") == "close");
    CHECK(response.body == "only HTTP/2 is served here\n");
    CHECK(client.closed_within(RawClient::kLimit));
  }
  // The preface is awaited to its end.
  CHECK(body_behind_slow_preface(server) == "hello\n");
  CHECK(server.stats().bad_requests == 4);
  CHECK(server.stats().requests == 1);
}

TEST_CASE("a port that refuses HTTP/1.1 must speak HTTP/2") {
  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry(clock);
  http::ServerOptions options = test_options();
  options.http1 = http::Http1::kRefused;
  const auto refused = http::Server::create(
      options, [](auto&, auto&) {}, registry, sink, clock);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == ErrorCode::kInvalidArgument);
  CHECK(refused.error().message().find("http2_cleartext") != std::string::npos);
}

TEST_CASE("HTTP/2 and HTTP/1.1 on one port, and on one route") {
  TestServer server(h2_options());
  Http2Client client = connect(server);
  CHECK(client.get(1, "/hello") == "200 hello\n");
  CHECK(client.get(3, "/none") == "404 Not Found\n");
  CHECK(client.get(5, "/throw") == "500 Internal Server Error\n");
  CHECK(server.get("/hello") == "200 hello\n");
  const h2::Response& response = client.reader.response(1);
  CHECK(response.header("content-length") == "6");
  CHECK(response.header("content-type") == "text/plain; charset=utf-8");
  CHECK_FALSE(response.header("date").empty());
  CHECK(response.header("connection").empty());
  const http::ServerStats stats = server.stats();
  CHECK(stats.http2.connections == 1);
  CHECK(stats.http2.requests == 3);
  CHECK(stats.requests == 4);
  CHECK(stats.status_classes[2] == 2);
  CHECK(stats.connections.multiplexed == 1);
  CHECK(stats.handler_exceptions == 1);
}

TEST_CASE("HEAD, 204 and a declared length over HTTP/2") {
  TestServer server(h2_options(), [](http::Router& router) {
    REQUIRE(router
                .handle("/none",
                        [](ResponseWriter& response, Request&) {
                          response.status(204);
                          (void)response.write("dropped");
                        })
                .ok());
    REQUIRE(router
                .handle("/short",
                        [](ResponseWriter& response, Request&) {
                          response.headers().set("Content-Length", "10");
                          (void)response.write("short");
                          (void)response.flush();
                        })
                .ok());
    REQUIRE(router
                .handle("/fields",
                        [](ResponseWriter& response, Request& request) {
                          response.headers().set("X-Upper-Case", "kept");
                          response.headers().set("Transfer-Encoding", "chunked");
                          response.headers().set("Keep-Alive", "1");
                          response.headers().set("X-Split", "a\r\nb");
                          (void)response.write(std::string(http_version_name(request.version())) +
                                               " " + std::string(request.host()));
                        })
                .ok());
  });
  Http2Client client = connect(server);
  CHECK(client.exchange(1, h2::headers(1, h2::request_fields("HEAD", "/hello"))) == "200 ");
  CHECK(client.reader.response(1).header("content-length") == "6");
  CHECK(client.get(3, "/none") == "204 ");
  CHECK(client.reader.response(3).header("content-length").empty());
  CHECK(client.get(5, "/short") == "reset INTERNAL_ERROR");
  CHECK(client.get(7, "/fields") == "200 HTTP/2.0 localhost");
  CHECK(client.reader.response(7).header("x-upper-case") == "kept");
  CHECK(client.reader.response(7).header("transfer-encoding").empty());
  CHECK(client.reader.response(7).header("x-split").empty());
  CHECK(server.stats().headers_refused == 1);
}

TEST_CASE("bodies and trailers over HTTP/2, both ways") {
  TestServer server(h2_options(), [](http::Router& router) {
    REQUIRE(router
                .handle("/trail",
                        [](ResponseWriter& response, Request&) {
                          (void)response.set_trailer("X-Sum", "7");
                          (void)response.write("body");
                        })
                .ok());
  });
  Http2Client client = connect(server);
  // Collected, with its length announced; streamed, without.
  CHECK(client.exchange(1, h2::post(1, "/echo", {{"content-length", "3"}}) +
                               h2::data(1, "a", h2::kNone) + h2::data(1, "bc")) == "200 abc");
  CHECK(client.exchange(3, h2::post(3, "/echo") + h2::data(3, "a", h2::kNone) +
                               h2::data(3, "bc")) == "200 abc");
  CHECK(client.exchange(5, h2::post(5, "/echo") + h2::data(5, "abc", h2::kNone) +
                               h2::headers(5, {{"x-sum", "1"}})) == "200 abc|x-sum");
  CHECK(client.get(7, "/trail") == "200 body");
  CHECK(client.reader.response(7).trailers == h2::Fields{{"x-sum", "7"}});
  CHECK(client.reader.response(7).header("trailer") == "X-Sum");
}

TEST_CASE("100-continue and other informational responses over HTTP/2") {
  TestServer server(h2_options(), [](http::Router& router) {
    REQUIRE(router
                .handle("/early",
                        [](ResponseWriter& response, Request&) {
                          http::HeaderMap links;
                          links.set("Link", "</a.css>; rel=preload");
                          (void)response.inform(103, links);
                          const bool hijacked = response.hijack().ok();
                          (void)response.write(hijacked ? "hijacked" : "late");
                        })
                .ok());
  });
  Http2Client client = connect(server);
  client.send(h2::post(1, "/echo", {{"expect", "100-continue"}, {"content-length", "2"}}));
  REQUIRE(client.until([&] { return client.reader.response(1).informed.size() == 1; }));
  CHECK(client.reader.response(1).informed[0] == 100);
  CHECK(client.exchange(1, h2::data(1, "ab")) == "200 ab");
  CHECK(client.get(3, "/early") == "200 late");
  CHECK(client.reader.response(3).informed == std::vector<int>{103});
}

TEST_CASE("a body that is too long: 413 where it is announced, an error of read() where not") {
  http::ServerOptions options = h2_options();
  options.max_body_bytes = 10;
  TestServer server(options);
  Http2Client client = connect(server);
  CHECK(client.exchange(1, h2::post(1, "/echo", {{"content-length", "11"}})) ==
        "413 the request's body is too long\n");
  CHECK(client.exchange(3, h2::post(3, "/echo") + h2::data(3, "0123456789")) == "200 0123456789");
  CHECK(client.exchange(5, h2::post(5, "/echo") + h2::data(5, "0123456789a")) ==
        "400 resource_exhausted\n");
}

TEST_CASE("a body of many windows goes both ways, whole") {
  TestServer server(h2_options());
  Http2Client client = connect(server, h2::settings({{4, 1'000'000}}));
  client.send(h2::window_update(0, 100'000'000));
  CHECK(client.get(1, "/big?n=900000").size() == 4 + 900'000);
  client.send(h2::post(3, "/echo", {{"content-length", "40000"}}));
  client.send(h2::data(3, std::string(16'000, 'a'), h2::kNone) +
              h2::data(3, std::string(16'000, 'b'), h2::kNone) +
              h2::data(3, std::string(8'000, 'c')));
  REQUIRE(client.answered(3));
  CHECK(client.reader.response(3).body ==
        std::string(16'000, 'a') + std::string(16'000, 'b') + std::string(8'000, 'c'));
}

TEST_CASE("streams that block do not hold up others of their connection") {
  TestServer server(h2_options());
  Http2Client client = connect(server);
  for (std::uint32_t id = 1; id < 21; id += 2) client.send(h2::get(id, "/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 10; }));
  for (std::uint32_t id = 101; id < 301; id += 2) CHECK(client.get(id, "/hello") == "200 hello\n");
  server.gate.open();
  for (std::uint32_t id = 1; id < 21; id += 2) {
    CHECK(client.answered(id));
    CHECK(client.reader.response(id).body == "released\n");
  }
}

TEST_CASE("a stream is a task of its route, and middleware is around its handler") {
  TestServer server(h2_options(), [](http::Router& router) {
    REQUIRE(router
                .handle("POST /short",
                        http::body_limit(3)([](ResponseWriter& response, Request& request) {
                          const auto body = request.read_all(100);
                          if (body) (void)response.write(*body);
                        }))
                .ok());
  });
  Http2Client client = connect(server);
  client.send(h2::get(1, "/hold") + h2::get(3, "/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 2; }));
  const auto tasks = server.registry.snapshot();
  REQUIRE(tasks.size() == 2);
  for (const leakwatch::TaskInfo& task : tasks) CHECK(task.label == "GET /hold");
  CHECK(tasks[0].thread != tasks[1].thread);
  server.gate.open();
  CHECK(client.answered(1));
  CHECK(client.answered(3));
  CHECK(eventually([&] { return server.registry.snapshot().empty(); }));
  CHECK(client.exchange(5, h2::post(5, "/short") + h2::data(5, "abc")) == "200 abc");
  client.send(h2::post(7, "/short") + h2::data(7, "abcd"));
  CHECK(client.answered(7));
  CHECK(client.reader.response(7).status == 413);
}

TEST_CASE("a stream's token: stopped by RST_STREAM and by the connection's end, no other's") {
  TestServer server(h2_options());
  Http2Client client = connect(server);
  client.send(h2::get(1, "/stop") + h2::get(3, "/stop") + h2::get(5, "/hello"));
  REQUIRE(client.answered(5));
  client.send(h2::rst(1));
  CHECK(eventually([&] { return server.stopped == 1; }));
  CHECK(client.get(7, "/hello") == "200 hello\n");
  CHECK(server.stopped == 1);
  client.raw.close();
  CHECK(eventually([&] { return server.stopped == 2; }));
}

TEST_CASE("P5.2 limits of streams and headers, announced and enforced") {
  http::ServerOptions options = h2_options();
  options.http2_max_streams = 3;
  options.max_header_bytes = 2048;
  TestServer server(options);
  Http2Client client = connect(server);
  REQUIRE(client.until([&] { return client.reader.settings().size() == 4; }));
  CHECK(client.reader.settings().at(3) == 3);
  CHECK(client.reader.settings().at(6) == 2048);
  for (std::uint32_t id = 1; id < 7; id += 2) client.send(h2::get(id, "/hold"));
  CHECK(client.get(7, "/hello") == "reset REFUSED_STREAM");
  // A handler that runs on counts, though its stream is gone: a reset does not make room.
  REQUIRE(eventually([&] { return server.gate.waiting() == 3; }));
  client.send(h2::rst(1));
  CHECK(client.get(9, "/hello") == "reset REFUSED_STREAM");
  server.gate.open();
  REQUIRE(client.answered(3));
  REQUIRE(client.answered(5));
  CHECK(client.get(11, "/hello", {{"x", std::string(2048, 'a')}}) ==
        "431 the request's header section is too long\n");
  CHECK(client.get(13, "/hello") == "200 hello\n");
  CHECK(server.stats().http2.abuse[static_cast<std::size_t>(http::Http2Abuse::kHeaderList)] == 1);
}

TEST_CASE("max_in_flight and max_requests_per_connection hold for streams") {
  http::ServerOptions options = h2_options();
  options.max_in_flight = 1;
  options.max_requests_per_connection = 3;
  TestServer server(options);
  Http2Client client = connect(server);
  client.send(h2::get(1, "/hold"));
  REQUIRE(eventually([&] { return server.gate.waiting() == 1; }));
  CHECK(client.get(3, "/hello") == "503 too many requests in flight\n");
  CHECK(client.reader.response(3).header("retry-after") == "1");
  server.gate.open();
  CHECK(client.answered(1));
  CHECK(client.get(5, "/hello") == "200 hello\n");
  CHECK(client.reader.goaways() == std::vector<std::string>{"5 NO_ERROR"});
  CHECK(client.closes());
  CHECK(server.stats().limits_hit.in_flight == 1);
}

TEST_CASE("a stalled reader costs its window, and a bounded buffer, not the response") {
  TestServer server(h2_options());
  Http2Client client = connect(server);  // a window of 65,535 bytes, and it stays
  client.send(h2::get(1, "/big?n=100000000"));
  REQUIRE(client.until([&] { return client.reader.data_bytes() == 65'535; }));
  // The others' share of the connection's window is gone too, but not their heads.
  client.send(h2::headers(3, h2::request_fields("HEAD", "/hello")));
  CHECK(client.answered(3));
  CHECK(client.reader.data_bytes() == 65'535);
  CHECK(server.stats().bytes_sent < 70'000);
  client.send(h2::rst(1));
  CHECK(eventually([&] { return server.write_errors == 1; }));
}
