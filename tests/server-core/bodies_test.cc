// Bodies both ways: lengths, chunks, HEAD, Expect, what is left unread.
#include <string>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil::test;

namespace {
std::string post(const std::string& path, const std::string& fields, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n" + body;
}
std::string with_length(const std::string& path, const std::string& body) {
  return post(path, "Content-Length: " + std::to_string(body.size()) + "\r\n", body);
}
}  // namespace

TEST_CASE("a body with a length comes back: small, at the collecting limit, around it, large") {
  TestServer server;
  RawClient client = server.connect();
  for (std::size_t size : {0u, 1u, 65'535u, 65'536u, 65'537u, 1'000'000u}) {
    std::string body(size, 'a');
    for (std::size_t i = 0; i < size; i += 7) body[i] = static_cast<char>(i);
    REQUIRE(client.send(with_length("/echo", body)));
    const RawResponse response = client.read_response();
    INFO(size << " bytes: " << response.head << response.body.substr(0, 200));
    CHECK(response.status == 200);
    CHECK((response.body == body));
  }
  CHECK(server.stats().accepted == 1);
}

TEST_CASE("P1.17: POST without a length has an empty body") {
  TestServer server;
  RawClient client = server.connect();
  client.send(post("/echo", "", ""));
  const RawResponse response = client.read_response();
  CHECK(response.status == 200);
  CHECK(response.body.empty());
}

TEST_CASE("chunked bodies: in pieces, with trailers, and the next request behind them") {
  TestServer server;
  RawClient client = server.connect();
  const std::string request = post("/echo", "Transfer-Encoding: chunked\r\n",
                                   "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nX-T: 1\r\n\r\n");
  client.send(request + get_request("/hello"));
  CHECK(client.read_response().body == "hello!|X-T");
  CHECK(client.read_response().body == "hello\n");
  for (char c : request) client.send({&c, 1});
  CHECK(client.read_response().body == "hello!|X-T");
  CHECK(server.stats().accepted == 1);
}

TEST_CASE("a large chunked body is streamed both ways") {
  TestServer server;
  RawClient client = server.connect();
  std::string body, chunked;
  for (int i = 0; i < 200; ++i) {
    const std::string chunk(997, static_cast<char>('a' + i % 26));
    body += chunk;
    chunked += "3e5\r\n" + chunk + "\r\n";
  }
  client.send(post("/echo", "Transfer-Encoding: chunked\r\n", chunked + "0\r\n\r\n"));
  const RawResponse response = client.read_response();
  CHECK(response.header("transfer-encoding") == "chunked");
  CHECK((response.body == body));
  client.send(get_request("/hello"));
  CHECK(client.read_response().status == 200);
}

TEST_CASE("P1.12: a malformed chunk is the handler's read error, and the end of the connection") {
  TestServer server;
  RawClient client = server.connect();
  client.send(post("/echo", "Transfer-Encoding: chunked\r\n", "5\r\nhelloX\r\n") +
              get_request("/hello"));
  const RawResponse response = client.read_response();
  CHECK(response.status == 400);
  CHECK(response.header("x-error") == "invalid_argument");
  CHECK(response.header("connection") == "close");
  CHECK(client.closed_within(5s));
}

TEST_CASE("a chunked body over the limit is a read error too") {
  auto options = test_options();
  options.max_body_bytes = 10;
  TestServer server(options);
  RawClient client = server.connect();
  client.send(
      post("/echo", "Transfer-Encoding: chunked\r\n", "a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n"));
  CHECK(client.read_response().header("x-error") == "resource_exhausted");
  RawClient announced = server.connect();
  announced.send(with_length("/echo", "0123456789"));
  CHECK(announced.read_response().status == 200);
  announced.send(with_length("/echo", "0123456789a"));
  CHECK(announced.read_response().status == 413);
}

TEST_CASE("P1.21: a streamed body that ends early is an error, not a short body") {
  TestServer server;
  RawClient client = server.connect();
  client.send(post("/echo", "Content-Length: 100000\r\n", "abc"));
  client.half_close();
  const RawResponse response = client.read_response();
  CHECK(response.status == 400);
  CHECK(response.header("x-error") == "closed");
  CHECK(server.read_errors == 1);
}

TEST_CASE(
    "responses: chunked beyond the buffer, close-delimited in HTTP/1.0, none for HEAD and 204") {
  TestServer server(test_options(), [](vigil::http::Router& router) {
    add(router, "/none", [](auto& response, auto&) {
      response.status(204);
      (void)response.write("dropped");
    });
    add(router, "GET /declared", [](auto& response, auto&) {
      response.headers().set("Content-Length", "5");
      (void)response.write("he");
      (void)response.flush();
      (void)response.write("llo");
    });
  });
  RawClient client = server.connect();
  client.send(get_request("/big?n=100000"));
  RawResponse response = client.read_response();
  CHECK(response.header("transfer-encoding") == "chunked");
  CHECK(response.body.size() == 100'000);
  client.send(get_request("/big?n=30000"));
  response = client.read_response();
  CHECK(response.header("content-length") == "30000");
  CHECK(response.body.size() == 30'000);
  client.send("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  response = client.read_response(true);
  CHECK(response.status == 200);
  CHECK(response.header("content-length") == "6");
  client.send("HEAD /big?n=100000 HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(client.read_response(true).status == 200);
  client.send(get_request("/none"));
  response = client.read_response();
  CHECK(response.status == 204);
  CHECK(response.header("content-length").empty());
  client.send(get_request("/declared"));
  response = client.read_response();
  CHECK(response.header("content-length") == "5");
  CHECK(response.body == "hello");
  CHECK(server.stats().accepted == 1);

  RawClient old = server.connect();
  old.send("GET /big?n=100000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  response = old.read_response();
  CHECK(response.header("transfer-encoding").empty());
  CHECK(response.header("connection") == "close");
  CHECK(response.body.size() == 100'000);
}

TEST_CASE("P1.20: 100 only when the handler reads, and none if it does not") {
  TestServer server;
  RawClient client = server.connect();
  const std::string fields = "Content-Length: 5\r\nExpect: 100-continue\r\n";
  client.send(post("/echo", fields, ""));
  CHECK(client.read_response().status == 100);
  client.send("hello");
  CHECK(client.read_response().body == "hello");
  client.send(post("/noread", fields, ""));
  const RawResponse response = client.read_response();
  CHECK(response.status == 200);
  CHECK(response.header("connection") == "close");
  CHECK(client.closed_within(5s));
}

TEST_CASE("P1.16: an unread body is skipped up to 256 KiB, beyond it the connection ends") {
  TestServer server;
  const auto goes_on = [&](std::size_t size) {
    RawClient client = server.connect();
    client.send(with_length("/noread", std::string(size, 'b')));
    const RawResponse response = client.read_response();
    CHECK(response.status == 200);
    if (response.header("connection") == "close") return false;
    client.send(get_request("/hello"));
    return client.read_response().body == "hello\n";
  };
  CHECK(goes_on(10));
  CHECK(goes_on(100'000));
  CHECK(goes_on(256 * 1024));
  CHECK_FALSE(goes_on(2'000'000));
  RawClient client = server.connect();
  client.send(post("/noread", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n") +
              get_request("/hello"));
  CHECK(client.read_response().body == "unread\n");
  CHECK(client.read_response().body == "hello\n");
}
