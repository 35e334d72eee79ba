// PUB-10: handlers written for cpp-httplib on vigil's server. Each case runs the same handlers on
// both, where both can, and compares what a client sees.
#include "agent/adapters/httplib_handlers.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "server-core/server.h"
#include "tests/support/catch.h"
#include "tests/support/http_client.h"
#include "tests/support/raw_client.h"
#include "tests/support/recording_sink.h"

using namespace std::chrono_literals;

namespace vigil::test {
namespace {

// How often a releaser was called, and with what.
struct Released {
  void note(bool success) {
    const std::lock_guard lock(mutex);
    text += success ? "+" : "-";
    changed.notify_all();
  }
  std::string wait() {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, 10s, [this] { return !text.empty(); });
    return text;
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::string text;
};

std::string joined(const httplib::Params& params) {
  std::string text;
  for (const auto& [name, value] : params) text += name + "=" + value + ";";
  return text;
}

// The service, on whatever has httplib's interface.
template <typename Server>
void add_service(Server& server, Released& released) {
  using httplib::Request;
  using httplib::Response;
  server.Get("/hi", [](const Request&, Response& response) {
    response.set_content("hello", "text/plain");
  });
  server.Get(R"(/user/(\d+)/(.*))", [](const Request& request, Response& response) {
    response.set_content(request.matches[1].str() + "|" + request.matches[2].str(), "text/plain");
  });
  server.Get("/nothing", [](const Request&, Response&) {});
  server.Get("/params", [](const Request& request, Response& response) {
    response.set_content(joined(request.params), "text/plain");
  });
  server.Get("/headers", [](const Request& request, Response& response) {
    response.headers.emplace("X-Two", "one");
    response.headers.emplace("X-Two", "two");
    response.set_header("Content-Length", "999");
    response.set_content(std::to_string(request.get_header_value_count("X-In")) +
                             request.get_header_value("X-In", 1),
                         "text/plain");
  });
  server.Get("/moved", [](const Request&, Response& response) { response.set_redirect("/hi"); });
  server.Get("/teapot", [](const Request&, Response& response) { response.status = 418; });
  server.Get("/throw", [](const Request&, Response&) { throw std::runtime_error("secret"); });
  server.Get("/peer", [](const Request& request, Response& response) {
    response.set_content(request.remote_addr + request.get_header_value("REMOTE_ADDR"),
                         "text/plain");
  });
  const auto echo = [](const Request& request, Response& response) {
    response.set_content(request.method + request.body + joined(request.params), "text/plain");
  };
  server.Post("/echo", echo);
  server.Put("/echo", echo);
  server.Patch("/echo", echo);
  server.Delete("/echo", echo);
  server.Post("/read",
              [](const Request&, Response& response, const httplib::ContentReader& content_reader) {
                std::string body;
                content_reader([&body](const char* data, std::size_t size) {
                  body.append(data, size);
                  return true;
                });
                response.set_content("read " + body, "text/plain");
              });
  const auto releaser = [&released](bool success) { released.note(success); };
  server.Get("/sized", [releaser](const Request&, Response& response) {
    response.set_content_provider(
        10, "text/plain",
        [](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
          return sink.write(std::string("0123456789").substr(offset).c_str(),
                            std::min<std::size_t>(length, 3));
        },
        releaser);
  });
  server.Get("/unsized", [releaser](const Request&, Response& response) {
    response.set_content_provider(
        "text/plain",
        [](std::size_t offset, httplib::DataSink& sink) {
          if (offset >= 9) {
            sink.done();
            return true;
          }
          return sink.write("abc", 3);
        },
        releaser);
  });
  server.Get("/chunked", [releaser](const Request&, Response& response) {
    response.set_chunked_content_provider(
        "text/plain",
        [](std::size_t, httplib::DataSink& sink) {
          sink.os << "streamed " << 42;
          sink.done();
          return true;
        },
        releaser);
  });
  server.Get("/aborted", [releaser](const Request&, Response& response) {
    response.set_chunked_content_provider(
        "text/plain",
        [](std::size_t offset, httplib::DataSink& sink) {
          return offset == 0 && sink.write("part", 4);
        },
        releaser);
  });
}

// On vigil's server.
class OnVigil {
 public:
  explicit OnVigil(const std::function<void(HttplibRoutes&)>& more = {}) {
    HttplibRoutes routes(registry);
    add_service(routes, released);
    if (more) more(routes);
    http::ServerOptions options;
    options.max_body_bytes = 1000;
    auto created = http::Server::create(options, routes, registry, sink, clock);
    REQUIRE(created.ok());
    server = *std::move(created);
    REQUIRE(server->start().ok());
  }
  const HostPort& endpoint() const { return server->endpoint(); }

  SystemClock clock;
  RecordingSink sink;
  leakwatch::TaskRegistry registry{clock};
  Released released;
  std::unique_ptr<http::Server> server;
};

// On its own.
class OnHttplib {
 public:
  OnHttplib() {
    add_service(server_, released);
    endpoint_ = {"127.0.0.1", static_cast<std::uint16_t>(server_.bind_to_any_port("127.0.0.1"))};
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    http_get(endpoint_, "/hi");  // it runs from here on, so that stop() ends it
  }
  ~OnHttplib() {
    server_.stop();
    thread_.join();
  }
  const HostPort& endpoint() const { return endpoint_; }

  Released released;

 private:
  httplib::Server server_;
  HostPort endpoint_;
  std::thread thread_;
};

HttpAnswer send(const HostPort& server, const char* method, const char* path,
                const std::string& body = "", const char* type = "text/plain") {
  HttpCall call;
  call.method = method;
  call.path = path;
  call.body = body;
  call.content_type = type;
  return http_call(server, call);
}

}  // namespace

TEST_CASE("P10.2 the same handlers answer the same on both servers") {
  OnVigil ours;
  OnHttplib theirs;
  const auto both = [&](const char* method, const char* path, const std::string& body = "",
                        const char* type = "text/plain") {
    INFO(method << " " << path);
    const HttpAnswer here = send(ours.endpoint(), method, path, body, type);
    const HttpAnswer there = send(theirs.endpoint(), method, path, body, type);
    CHECK(here.status == there.status);
    CHECK(here.body == there.body);
    CHECK(here.header("Content-Type") == there.header("Content-Type"));
    CHECK(here.header("Location") == there.header("Location"));
    return here;
  };
  CHECK(both("GET", "/hi").body == "hello");
  CHECK(both("HEAD", "/hi").status == 200);
  CHECK(both("GET", "/user/42/a%20b").body == "42|a b");
  CHECK(both("GET", "/user/x/y").status == 404);
  CHECK(both("GET", "/hi/more").status == 404);
  CHECK(both("GET", "/nothing").status == 200);  // -1
  CHECK(both("GET", "/params?a=1&b=%26&a=2").body == "a=1;a=2;b=&;");
  CHECK(both("GET", "/teapot").status == 418);
  CHECK(both("GET", "/peer").body == "127.0.0.1127.0.0.1");
  for (const char* method : {"POST", "PUT", "PATCH"}) {
    CHECK(both(method, "/echo", "body").body == method + std::string("body"));
  }
  CHECK(both("POST", "/echo", "a=1&b=x%20y", "application/x-www-form-urlencoded").body ==
        "POSTa=1&b=x%20ya=1;b=x y;");
  CHECK(both("POST", "/read", "some bytes").body == "read some bytes");
  CHECK(both("GET", "/sized").body == "0123456789");
  CHECK(both("GET", "/unsized").body == "abcabcabc");
  CHECK(both("GET", "/chunked").body == "streamed 42");
}

TEST_CASE("P10.2 several values of one field, both ways, and the framing is the engine's") {
  OnVigil ours;
  RawClient client(ours.endpoint());
  client.send("GET /headers HTTP/1.1\r\nHost: x\r\nX-In: a\r\nX-In: b\r\n\r\n");
  const RawResponse response = client.read_response();
  CHECK(response.body == "2b");
  CHECK(response.head.find("X-Two: one\r\n") != std::string::npos);
  CHECK(response.head.find("X-Two: two\r\n") != std::string::npos);
  CHECK(response.head.find("999") == std::string::npos);
  client.send("GET /moved HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(client.read_response().header("location") == "/hi");
}

TEST_CASE("P10.2 the releaser is called once, with whether all was written") {
  for (const auto& [path, wanted] :
       {std::pair("/sized", "+"), {"/unsized", "+"}, {"/chunked", "+"}, {"/aborted", "-"}}) {
    INFO(path);
    OnVigil ours;
    const HttpAnswer answer = http_get(ours.endpoint(), path);
    CHECK((answer.status == 200) == (std::string(wanted) == "+"));  // cut, not short
    CHECK(ours.released.wait() == wanted);
    ours.server->close();
    CHECK(ours.released.wait() == wanted);
  }
  OnVigil ours;
  RawClient head(ours.endpoint());
  head.send("HEAD /sized HTTP/1.1\r\nHost: x\r\n\r\n");
  const RawResponse response = head.read_response(true);
  CHECK(response.header("content-length") == "10");
  CHECK(ours.released.wait() == "-");
}

TEST_CASE("P10.3 the handlers see validated requests only, and bodies within the limits") {
  OnVigil ours;
  const auto status_of = [&](const std::string& bytes) {
    RawClient client(ours.endpoint());
    client.send(bytes);
    return client.read_response().status;
  };
  CHECK(status_of("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: "
                  "chunked\r\n\r\n0\r\n\r\n") == 400);
  CHECK(status_of("GET /hi HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n") == 400);
  CHECK(status_of("GET /hi HTTP/1.1\r\n\r\n") == 400);
  CHECK(send(ours.endpoint(), "POST", "/echo", std::string(1001, 'x')).status == 413);
  CHECK(send(ours.endpoint(), "POST", "/echo", "x", "multipart/form-data; boundary=b").status ==
        415);
}

TEST_CASE("P10.2 hooks: before routing, behind it, errors, exceptions, default fields") {
  using httplib::Request;
  using httplib::Response;
  OnVigil ours([](HttplibRoutes& routes) {
    routes.set_default_headers({{"X-Default", "yes"}});
    routes.set_pre_routing_handler([](const Request& request, Response& response) {
      if (request.path != "/blocked") return httplib::Server::HandlerResponse::Unhandled;
      response.status = 403;
      response.set_content("blocked", "text/plain");
      return httplib::Server::HandlerResponse::Handled;
    });
    routes.set_post_routing_handler(
        [](const Request&, Response& response) { response.set_header("X-Post", "yes"); });
    routes.set_error_handler([](const Request&, Response& response) {
      response.set_content("error " + std::to_string(response.status), "text/plain");
    });
    routes.set_exception_handler([](const Request&, Response& response, std::exception_ptr) {
      response.status = 500;
      response.set_content("caught", "text/plain");
    });
  });
  CHECK(http_get(ours.endpoint(), "/blocked").body == "blocked");
  CHECK(http_get(ours.endpoint(), "/nope").body == "error 404");
  CHECK(http_get(ours.endpoint(), "/teapot").body == "error 418");
  CHECK(http_get(ours.endpoint(), "/throw").body == "caught");
  const HttpAnswer hello = http_get(ours.endpoint(), "/hi");
  CHECK(hello.header("X-Default") == "yes");
  CHECK(hello.header("X-Post") == "yes");
}

TEST_CASE("P10.2 without an exception handler the client learns nothing of the exception") {
  OnVigil ours;
  const HttpAnswer answer = http_get(ours.endpoint(), "/throw");
  CHECK(answer.status == 500);
  CHECK(answer.body.find("secret") == std::string::npos);
  CHECK(answer.header("EXCEPTION_WHAT").empty());
}

TEST_CASE("a handler of cpp-httplib is a task with its pattern as its name") {
  OnVigil ours([](HttplibRoutes& routes) {
    routes.Get(R"(/label/(\d+))", [](const httplib::Request&, httplib::Response& response) {
      response.set_content(
          std::to_string(static_cast<int>(leakwatch::Task::current() != leakwatch::TaskId::kNone)),
          "text/plain");
    });
  });
  CHECK(http_get(ours.endpoint(), "/label/7").body == "1");
  CHECK(ours.registry.counters().live == 0);
}

}  // namespace vigil::test
