// The debug pages inside servers that are not ours: cpp-httplib's and one on Boost.Beast.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

#include "agent/adapters/beast_mount.h"
#include "agent/adapters/httplib_mount.h"
#include "agent/agent.h"
#include "tests/agent/with_agent.h"
#include "tests/support/catch.h"
#include "tests/support/http_client.h"
#include "tests/support/raw_client.h"

namespace vigil::test {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;

class HttplibHost {
 public:
  explicit HttplibHost(const Agent& agent) {
    server_.Get("/hello", [](const httplib::Request&, httplib::Response& response) {
      response.set_content("hello", "text/plain");
    });
    server_.Get("/metrics", [](const httplib::Request&, httplib::Response& response) {
      response.set_content("own_metric 1\n", "text/plain");
    });
    mount_debug_pages(server_, agent);
    endpoint_ = {"127.0.0.1", static_cast<std::uint16_t>(server_.bind_to_any_port("127.0.0.1"))};
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~HttplibHost() {
    server_.stop();
    thread_.join();
  }
  const HostPort& endpoint() const { return endpoint_; }

 private:
  httplib::Server server_;
  HostPort endpoint_;
  std::thread thread_;
};

// The smallest server on Beast that serves requests one after the other, each connection kept alive
// as its client asks.
class BeastHost {
 public:
  explicit BeastHost(const Agent& agent)
      : agent_(agent), acceptor_(io_, {asio::ip::make_address("127.0.0.1"), 0}) {
    endpoint_ = {"127.0.0.1", acceptor_.local_endpoint().port()};
    thread_ = std::thread([this] { serve(); });
  }
  ~BeastHost() {
    stopping_ = true;
    RawClient wake(endpoint_);  // accept() returns
    thread_.join();
  }
  const HostPort& endpoint() const { return endpoint_; }

 private:
  void serve() {
    while (!stopping_) {
      asio::ip::tcp::socket socket(io_);
      acceptor_.accept(socket);
      serve_connection(socket);
    }
  }
  void serve_connection(asio::ip::tcp::socket& socket) {
    beast::flat_buffer buffer;
    beast::error_code error;
    while (!error && !stopping_) {
      beast::http::request<beast::http::string_body> request;
      beast::http::read(socket, buffer, request, error);
      if (error) return;
      const auto response =
          is_debug_target(request.target())
              ? debug_response(agent_, request, socket.remote_endpoint().address())
              : hello(request);
      beast::http::write(socket, response, error);
      if (response.need_eof()) return;
    }
  }
  static beast::http::response<beast::http::string_body> hello(
      const beast::http::request<beast::http::string_body>& request) {
    beast::http::response<beast::http::string_body> response(beast::http::status::ok,
                                                             request.version());
    response.keep_alive(request.keep_alive());
    response.body() = "hello";
    response.prepare_payload();
    return response;
  }

  const Agent& agent_;
  std::atomic<bool> stopping_{false};
  asio::io_context io_;
  asio::ip::tcp::acceptor acceptor_;
  HostPort endpoint_;
  std::thread thread_;
};

int status_with(const HostPort& server, const char* name, const char* value,
                const char* method = "GET", const char* path = "/debug/tasks") {
  HttpCall call;
  call.method = method;
  call.path = path;
  call.headers.emplace(name, value);
  return http_call(server, call).status;
}

// What holds for the pages on every host.
void check_pages(const HostPort& server) {
  CHECK(http_get(server, "/hello").body == "hello");
  CHECK(http_get(server, "/healthz").body == "ok\n");
  const HttpAnswer overview = http_get(server, "/debug/");
  CHECK(overview.status == 200);
  CHECK(overview.header("Content-Type") == "text/html; charset=utf-8");
  CHECK(overview.header("X-Content-Type-Options") == "nosniff");
  CHECK(http_get(server, "/debug/pprof/goroutine?debug=1").body.find("goroutine profile: total") ==
        0);
  const HttpAnswer profile = http_get(server, "/debug/pprof/profile?seconds=1");
  CHECK(profile.status == 200);
  CHECK(profile.body.substr(0, 2) == "\x1f\x8b");
  CHECK(profile.header("Content-Disposition") == "attachment; filename=\"profile\"");
  CHECK(http_get(server, "/debug/nope").status == 404);

  HttpCall symbol;
  symbol.method = "POST";
  symbol.path = "/debug/pprof/symbol";
  symbol.body = "0x1";
  symbol.content_type = "application/x-www-form-urlencoded";
  CHECK(http_call(server, symbol).body == "num_symbols: 1\n");

  CHECK(status_with(server, "Host", "localhost") == 200);
  CHECK(status_with(server, "Host", "evil.example") == 403);
  CHECK(status_with(server, "Origin", "http://evil.example") == 403);
  CHECK(status_with(server, "X-Forwarded-For", "10.0.0.1") == 200);
  CHECK(status_with(server, "Host", "localhost", "DELETE") == 405);
  CHECK(status_with(server, "Host", "localhost", "HEAD") == 200);

  RawClient kept(server);
  for (int i = 0; i < 2; ++i) {
    kept.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    CHECK(kept.read_response().body == "ok\n");
  }
}

}  // namespace

TEST_CASE("the debug pages on a cpp-httplib server") {
  WithAgent process;
  HttplibHost host(*process.agent);
  check_pages(host.endpoint());
  CHECK(http_get(host.endpoint(), "/metrics").body == "own_metric 1\n");
  // A name that the library itself adds to the headers is not believed.
  CHECK(status_with(host.endpoint(), "REMOTE_ADDR", "10.0.0.1") == 200);
}

TEST_CASE("the debug pages in a server on Boost.Beast") {
  WithAgent process;
  BeastHost host(*process.agent);
  check_pages(host.endpoint());
  CHECK(http_get(host.endpoint(), "/metrics").body.find("vigil_tasks") != std::string::npos);
}

TEST_CASE("a host asks which targets are the pages'") {
  for (const char* target : {"/debug/", "/debug/pprof/heap?debug=1", "/pprof/symbol", "/metrics",
                             "/metrics?x", "/healthz", "/readyz", "/symbolz"}) {
    INFO(target);
    CHECK(is_debug_path(target));
  }
  for (const char* target :
       {"/", "", "/debug", "/debugger/", "/metricsx", "/api/debug/", "debug/", "/x?/debug/"}) {
    INFO(target);
    CHECK_FALSE(is_debug_path(target));
  }
}

}  // namespace vigil::test
