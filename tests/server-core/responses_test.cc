// What responses look like on the wire: types, trailers, informational ones, what a handler may not
// do.
#include <string>

#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::http;
using namespace vigil::test;

namespace {

// Every byte of the answer.
std::string wire(TestServer& server, const std::string& target,
                 const std::string& version = "HTTP/1.1") {
  RawClient client = server.connect();
  client.send("GET " + target + " " + version + "\r\nHost: x\r\nConnection: close\r\n\r\n");
  return client.read_to_end();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the Content-Type that a handler does not set comes from the body") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "GET /html", [](auto& response, auto&) { (void)response.write("<p>x</p>"); });
    add(router, "GET /own", [](auto& response, auto&) {
      response.headers().set("Content-Type", "text/css");
      (void)response.write("<p>");
    });
    add(router, "GET /none", [](auto& response, auto&) {
      response.headers().set("Content-Type", "");
      (void)response.write("<p>");
    });
    add(router, "GET /encoded", [](auto& response, auto&) {
      response.headers().set("Content-Encoding", "gzip");
      (void)response.write("\x1F\x8B\x08");
    });
    add(router, "GET /empty", [](auto&, auto&) {});
    add(router, "GET /204", [](auto& response, auto&) {
      response.status(204);
      (void)response.write("<p>");
    });
    add(router, "GET /parts", [](auto& response, auto&) {
      (void)response.write("<!DOC");
      (void)response.write("TYPE html>" + std::string(100'000, 'x'));
    });
    add(router, "GET /flushed", [](auto& response, auto&) {
      (void)response.flush();
      (void)response.write("<p>");
    });
  });
  RawClient client = server.connect();
  const auto type_of = [&](const std::string& target, const std::string& method = "GET") {
    client.send(method + " " + target + " HTTP/1.1\r\nHost: x\r\n\r\n");
    const RawResponse response = client.read_response(method == "HEAD");
    CHECK(response.complete);
    return response.header("content-type");
  };
  CHECK(type_of("/hello") == "text/plain; charset=utf-8");
  CHECK(type_of("/hello", "HEAD") == "text/plain; charset=utf-8");
  CHECK(type_of("/html") == "text/html; charset=utf-8");
  CHECK(type_of("/html", "HEAD") == "text/html; charset=utf-8");
  CHECK(type_of("/own") == "text/css");
  CHECK(type_of("/none") == "");
  CHECK(type_of("/encoded") == "");
  CHECK(type_of("/empty") == "");
  CHECK(type_of("/204") == "");
  CHECK(type_of("/parts") == "text/html; charset=utf-8");
  CHECK(type_of("/flushed") == "");  // the head was out before there was anything to look at
}

TEST_CASE("trailers: announced, behind the last chunk, and never what frames or routes") {
  Notes notes;
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /before", [](ResponseWriter& response, auto&) {
      (void)response.set_trailer("X-Sum", "1");
      (void)response.write("body");
      (void)response.set_trailer("X-Sum", "42");
    });
    add(router, "GET /announced", [&](ResponseWriter& response, auto&) {
      response.headers().set("Trailer", "X-Late");
      (void)response.write("body");
      (void)response.flush();
      notes.add(response.set_trailer("X-Late", "yes"));
    });
    add(router, "GET /bad", [&](ResponseWriter& response, auto&) {
      for (const char* name : {"Content-Length", "host", "Transfer-Encoding", "Set-Cookie"}) {
        notes.add(response.set_trailer(name, "1"));
      }
      notes.add(response.set_trailer("X-A", "1\r\nX-B: 2"));
      (void)response.write("body");
    });
    add(router, "GET /length", [&](ResponseWriter& response, auto&) {
      response.headers().set("Content-Length", "4");
      (void)response.write("body");
      (void)response.flush();
      notes.add(response.set_trailer("X-A", "1"));
    });
  });
  std::string text = wire(server, "/before");
  CHECK(has(text, "\r\nTransfer-Encoding: chunked\r\n"));
  CHECK(has(text, "\r\nTrailer: X-Sum\r\n"));
  CHECK_FALSE(has(text, "Content-Length"));
  CHECK(text.ends_with("\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n"));
  text = wire(server, "/announced");
  CHECK(has(text, "\r\nTrailer: X-Late\r\n"));
  CHECK(text.ends_with("4\r\nbody\r\n0\r\nX-Late: yes\r\n\r\n"));
  CHECK(notes.take() == "ok");
  text = wire(server, "/bad");
  CHECK(notes.take() ==
        "invalid_argument invalid_argument invalid_argument invalid_argument invalid_argument");
  CHECK(has(text, "\r\nContent-Length: 4\r\n"));
  CHECK_FALSE(has(text, "X-B"));
  text = wire(server, "/length");
  CHECK(notes.take() == "unsupported");
  CHECK(text.ends_with("\r\n\r\nbody"));

  text = wire(server, "/before", "HTTP/1.0");
  CHECK(text.ends_with("\r\n\r\nbody"));
  CHECK_FALSE(has(text, "railer"));
  text = wire(server, "/announced", "HTTP/1.0");
  CHECK_FALSE(has(text, "railer"));
  CHECK(notes.take() == "unsupported");
  RawClient client = server.connect();
  client.send("HEAD /before HTTP/1.1\r\nHost: x\r\n\r\n" + get_request("/hello"));
  CHECK(client.read_response(true).status == 200);
  CHECK(client.read_response().body == "hello\n");
}

TEST_CASE("informational responses come at once and before the real one") {
  Gate gate;
  Notes notes;
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /hints", [&](ResponseWriter& response, auto&) {
      HeaderMap hints;
      hints.set("Link", "</style.css>; rel=preload; as=style");
      hints.set("Content-Length", "5");
      notes.add(response.inform(103, hints));
      notes.add(response.inform(101, hints));
      notes.add(response.inform(200, hints));
      gate.wait();
      (void)response.write("real");
      (void)response.flush();
      notes.add(response.inform(103, hints));
    });
  });
  RawClient client = server.connect();
  client.send(get_request("/hints"));
  const RawResponse hints = client.read_response();
  CHECK(hints.status == 103);
  CHECK(hints.header("link") == "</style.css>; rel=preload; as=style");
  CHECK(hints.header("content-length").empty());
  CHECK(hints.head.starts_with("HTTP/1.1 103 Early Hints\r\n"));
  gate.open();
  CHECK(client.read_response().body == "real");
  client.send(get_request("/hello"));
  CHECK(client.read_response().body == "hello\n");
  CHECK(notes.take() == "ok invalid_argument invalid_argument invalid_argument");
  CHECK(server.stats().status_classes[1] == 1);
  CHECK(wire(server, "/hints", "HTTP/1.0").starts_with("HTTP/1.0 200 "));
}

TEST_CASE("what is changed when the head is out has no effect, is counted, and is logged once") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "GET /late", [](auto& response, auto&) {
      (void)response.write("x");
      (void)response.flush();
      response.headers().set("X-Late", "1");
      response.status(500);
    });
    add(router, "GET /intime", [](auto& response, auto&) {
      (void)response.write("x");
      response.headers().set("X-In-Time", "1");
      response.status(201);
      (void)response.flush();
      response.status(201);
    });
  });
  const std::string text = wire(server, "/late");
  CHECK(text.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK_FALSE(has(text, "X-Late"));
  CHECK(server.stats().headers_late == 1);
  CHECK(has(wire(server, "/intime"), "X-In-Time: 1"));
  CHECK(server.stats().headers_late == 1);
  (void)wire(server, "/late");
  CHECK(server.stats().headers_late == 2);
  CHECK(server.sink.count("changed after the head was out") == 1);
}

TEST_CASE("a Date that the handler sets is the only one") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "GET /passed-on", [](auto& response, auto&) {
      response.headers().set("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    });
  });
  const std::string text = wire(server, "/passed-on");
  CHECK(has(text, "\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
  CHECK_FALSE(has(text, "Date: "));
  CHECK(has(wire(server, "/hello"), "\r\nDate: "));
}

TEST_CASE("a Connection of the handler's: close is obeyed, Upgrade sent, keep-alive not") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "GET /connection", [](auto& response, auto& request) {
      response.headers().set("Connection", *request.query("v"));
    });
  });
  RawClient client = server.connect();
  const auto sent = [&](const std::string& value) {
    client.send(get_request("/connection?v=" + value));
    return client.read_response().header("connection");
  };
  CHECK(sent("Upgrade") == "Upgrade");
  CHECK(sent("keep-alive").empty());
  CHECK(sent("x,%20Close") == "close");
  CHECK(client.closed_within(1s));
}

TEST_CASE("a handler may answer while it reads: both directions at once, as Go's full duplex") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "POST /both", [](ResponseWriter& response, Request& request) {
      char byte;
      for (auto got = request.read(std::span(&byte, 1)); got && *got == 1;
           got = request.read(std::span(&byte, 1))) {
        if (!response.write(std::string(1, byte)) || !response.flush()) return;
      }
    });
  });
  RawClient client = server.connect();
  client.send("POST /both HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char letter : {'a', 'b', 'c'}) {
    client.send(std::string("1\r\n") + letter + "\r\n");
    std::string answer;
    while (answer.find(std::string("1\r\n") + letter) == std::string::npos && !client.ended()) {
      answer += client.read_some();
    }
    CHECK_FALSE(client.ended());
  }
}

TEST_CASE("P1.23: header values with CR, LF or NUL, and bad names, never reach the wire") {
  TestServer server(test_options(), [](Router& router) {
    add(router, "GET /split", [](auto& response, auto& request) {
      response.headers().set("X-Good", "1");
      response.headers().set("X-Echo", *request.query("v"));
      response.headers().set("X Bad\r\nX-Name", "1");
      response.headers().set("X-Nul", std::string_view("a\0X-Evil: 1", 11));
      (void)response.write("body");
    });
  });
  for (const char* value :
       {"a%0d%0aX-Evil:%201", "a%0aX-Evil:1", "a%0dX-Evil:1", "%0d%0a%0d%0aX-Evil", "a%01X-Evil"}) {
    const std::string text = wire(server, std::string("/split?v=") + value);
    INFO(value);
    CHECK(text.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(has(text, "X-Good: 1\r\n"));
    CHECK_FALSE(has(text, "X-Evil"));
    CHECK_FALSE(has(text, "X-Echo"));
    CHECK_FALSE(has(text, "X-Name"));
    CHECK_FALSE(has(text, "X-Nul"));
    CHECK(text.find('\0') == std::string::npos);
    CHECK(text.ends_with("\r\n\r\nbody"));
  }
  CHECK(has(wire(server, "/split?v=fine%09too"), "X-Echo: fine\ttoo\r\n"));
  CHECK(server.stats().headers_refused == 17);
}

TEST_CASE("more body than the Content-Length is an error, less cuts the connection") {
  Notes notes;
  TestServer server(test_options(), [&](Router& router) {
    add(router, "GET /more", [&](auto& response, auto&) {
      response.headers().set("Content-Length", "4");
      notes.add(response.write("body"));
      (void)response.flush();
      notes.add(response.write("!"));
      notes.add(response.write(""));
    });
    add(router, "GET /more-at-once", [&](auto& response, auto&) {
      response.headers().set("Content-Length", "4");
      notes.add(response.write(std::string(40'000, 'm')));  // more than the buffer holds
    });
    add(router, "GET /less", [](auto& response, auto&) {
      response.headers().set("Content-Length", "5");
      (void)response.write("body");
      (void)response.flush();
    });
    add(router, "GET /unsent", [](auto& response, auto&) {
      response.headers().set("Content-Length", "5");
      (void)response.write("body");
    });
  });
  RawClient more = server.connect();
  more.send(get_request("/more"));
  const RawResponse whole = more.read_response();
  CHECK(whole.body == "body");
  CHECK(more.closed_within(5s));
  CHECK(notes.take() == "ok invalid_argument invalid_argument");
  CHECK(server.get("/more-at-once") == "500 Internal Server Error\n");  // nothing was out yet
  CHECK(notes.take() == "invalid_argument");
  RawClient less = server.connect();
  less.send(get_request("/less") + get_request("/hello"));
  CHECK_FALSE(less.read_response().complete);
  CHECK(less.ended());
  RawClient unsent = server.connect();
  unsent.send(get_request("/unsent"));
  CHECK(unsent.read_response().status == 500);  // nor here
}
