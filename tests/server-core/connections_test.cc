// Keep-alive, pipelining, and what malformed requests get, on real sockets.
#include <string>
#include <vector>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil::test;

TEST_CASE("a kept-alive connection answers one request after another") {
  TestServer server;
  RawClient client = server.connect();
  for (int i = 0; i < 100; ++i) {
    REQUIRE(client.send(get_request("/hello")));
    const RawResponse response = client.read_response();
    REQUIRE(response.status == 200);
    CHECK(response.body == "hello\n");
    CHECK(response.header("content-length") == "6");
    CHECK(response.header("connection").empty());
    CHECK(response.header("date").size() == 29);  // P1.25
  }
  CHECK(server.stats().accepted == 1);
  CHECK(server.stats().requests == 100);
  CHECK(server.stats().ran_inline > 0);
  CHECK(server.stats().ran_handed_over >= 32);
}

TEST_CASE("P1.18: ten pipelined requests get ten answers in order, then garbage ends it") {
  TestServer server;
  RawClient client = server.connect();
  std::string requests;
  for (int i = 0; i < 10; ++i) {
    requests += i % 2 == 0 ? get_request("/hello")
                           : "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n#" +
                                 std::to_string(i);
  }
  REQUIRE(client.send(requests + "\x01\x02"));
  for (int i = 0; i < 10; ++i) {
    const RawResponse response = client.read_response();
    CHECK(response.status == 200);
    CHECK(response.body == (i % 2 == 0 ? "hello\n" : "#" + std::to_string(i)));
  }
  CHECK(client.read_response().status == 400);
  CHECK(client.closed_within(5s));
}

TEST_CASE("a request in one-byte segments is served") {
  TestServer server;
  RawClient client = server.connect();
  for (char c :
       "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + get_request("/hello")) {
    REQUIRE(client.send({&c, 1}));
  }
  CHECK(client.read_response().body == "hello");
  CHECK(client.read_response().body == "hello\n");
}

TEST_CASE("PUB-1: a refused request gets its status, Connection: close, and the end") {
  TestServer server;
  const std::vector<std::pair<std::string, int>> cases = {
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET /hello HTTP/1.1\nHost: x\n\n", 400},
      {get_request("/hello", "A : b\r\n"), 400},
      {get_request("/%zz"), 400},
      {get_request("/x%00"), 400},
      {"GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {get_request("/" + std::string(70'000, 'a')), 414},
      {get_request("/hello", "A: " + std::string(70'000, 'a') + "\r\n"), 431},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n",
       413},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: x\r\n\r\n", 417},
      {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"GET /hello HTTP/3.0\r\nHost: x\r\n\r\n", 505},
  };
  for (const auto& [request, status] : cases) {
    INFO(request.substr(0, 80));
    RawClient client = server.connect();
    REQUIRE(client.send(request + get_request("/hello")));  // the second must not be answered
    const RawResponse response = client.read_response();
    CHECK(response.status == status);
    CHECK(response.header("connection") == "close");
    CHECK(response.header("content-type") == "text/plain; charset=utf-8");
    CHECK(client.closed_within(5s));
  }
  CHECK(server.stats().bad_requests == cases.size());
  CHECK(server.get("/hello") == "200 hello\n");
}

TEST_CASE("P1.15: a 413 can be read by a client that is still sending") {
  TestServer server;
  RawClient client = server.connect();
  REQUIRE(client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n"));
  const std::string block(100'000, 'b');
  for (int i = 0; i < 20; ++i) client.send(block);
  CHECK(client.read_response().status == 413);
  client.half_close();
  CHECK(client.closed_within(5s));
}

TEST_CASE("P1.19: who closes when") {
  TestServer server;
  const auto ends = [&](const std::string& request) {
    RawClient client = server.connect();
    client.send(request);
    const RawResponse response = client.read_response();
    CHECK(response.status == 200);
    CHECK(response.complete);
    const bool said = response.header("connection") == "close";
    CHECK(client.closed_within(said ? 5s : 100ms) == said);
    return said;
  };
  CHECK_FALSE(ends(get_request("/hello")));
  CHECK(ends(get_request("/hello", "Connection: close\r\n")));
  CHECK(ends(get_request("/hello", "Connection: foo, CLOSE\r\n")));
  CHECK(ends("GET /hello HTTP/1.0\r\n\r\n"));
  CHECK_FALSE(ends("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

TEST_CASE("P1.21: half a request and then nothing gets no answer") {
  TestServer server;
  for (const std::string& half :
       {std::string("GET /hello HTTP/1.1\r\nHost:"),
        std::string("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")}) {
    RawClient client = server.connect();
    client.send(half);
    client.half_close();
    CHECK(client.closed_within(5s));
  }
  CHECK(server.stats().requests == 0);
}

TEST_CASE("P1.24: an exception gives 500 without its text, the connection goes on") {
  TestServer server;
  RawClient client = server.connect();
  client.send(get_request("/throw") + get_request("/hello"));
  const RawResponse response = client.read_response();
  CHECK(response.status == 500);
  CHECK((response.head + response.body).find("secret") == std::string::npos);
  CHECK(client.read_response().body == "hello\n");
  CHECK(server.sink.saw("secret text"));
  CHECK(server.stats().handler_exceptions == 1);
}

TEST_CASE("P1.23: a response header with a line end is dropped and logged") {
  TestServer server(test_options(), [](vigil::http::Router& router) {
    add(router, "GET /split", [](auto& response, auto&) {
      response.headers().set("X-Evil", "a\r\nSet-Cookie: b");
      response.headers().set("X-Good", "c");
    });
  });
  RawClient client = server.connect();
  client.send(get_request("/split"));
  const RawResponse response = client.read_response();
  CHECK(response.status == 200);
  CHECK(response.head.find("Cookie") == std::string::npos);
  CHECK(response.header("x-good") == "c");
  CHECK(server.stats().headers_refused == 1);
  CHECK(server.sink.saw("dropped"));
}

TEST_CASE("P1.7, P1.27: what a handler sees of its request") {
  TestServer server(test_options(), [](vigil::http::Router& router) {
    add(router, "GET /see/{id}", [](auto& response, auto& request) {
      (void)response.write(
          std::string(request.path_value("id").value_or("?")) + "|" + std::string(request.host()) +
          "|" + std::string(request.query("q").value_or("?")) + "|" +
          request.remote_address().host + "|" + std::string(request.header("x-A").value_or("?")));
    });
  });
  RawClient client = server.connect();
  client.send(
      "GET http://auth:8/see/a%20b?q=%41+b HTTP/1.1\r\nHost: other\r\nX-a: v\r\nX-Forwarded-For: "
      "9.9.9.9\r\n\r\n");
  CHECK(client.read_response().body == "a b|auth:8|A b|127.0.0.1|v");
}
