#include "server-core/router.h"

#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "tests/support/catch.h"

using namespace vigil;
using namespace vigil::http;

namespace {

class NoTransport final : public RequestTransport {
 public:
  Result<std::size_t> read_body(std::span<char>) override { return std::size_t{0}; }
  const HeaderMap& trailers() const override { return none_; }
  HostPort remote_address() const override { return {"127.0.0.1", 1}; }
  std::stop_token stop_token() override { return {}; }
  MonotonicTime write_deadline() const override { return kNoDeadline; }
  MonotonicTime read_deadline() const override { return kNoDeadline; }
  RouteAdmission enter_route(HandlerProfile&, leakwatch::TaskId id) override {
    task = id;
    return admission;
  }

  leakwatch::TaskId task{};
  RouteAdmission admission = RouteAdmission::kRun;

 private:
  HeaderMap none_;
};

class Recorder final : public ResponseWriter {
 public:
  HeaderMap& headers() override { return headers_; }
  void status(int code) override { code_ = code; }
  Result<void> write(std::string_view bytes) override {
    body.append(bytes);
    return {};
  }
  Result<void> flush() override { return {}; }
  void set_write_deadline(MonotonicTime) override {}
  void set_read_deadline(MonotonicTime) override {}
  bool head_sent() const override { return false; }
  bool reset() override { return false; }
  int status_code() const override { return code_; }
  std::uint64_t body_bytes() const override { return body.size(); }

  int code() const { return code_; }
  std::string body;

 private:
  HeaderMap headers_;
  int code_ = 200;
};

struct Fixture {
  // A handler that answers with its pattern and the values of `a` and `b`.
  void add(const std::string& pattern) {
    const Result<void> added =
        router.handle(pattern, [this, pattern](ResponseWriter& response, Request& request) {
          label = registry.find(leakwatch::Task::current())->label;
          std::string text = pattern;
          for (const char* name : {"a", "b"}) {
            if (auto value = request.path_value(name))
              text += " " + std::string(name) + "=" + std::string(*value);
          }
          (void)response.write(text);
        });
    INFO(pattern);
    REQUIRE(added.ok());
  }
  bool conflicts(const std::string& pattern) {
    return !router.handle(pattern, [](ResponseWriter&, Request&) {}).ok();
  }

  // "<status> <body or Location>"
  std::string ask(std::string method, std::string target) {
    Request request;
    Recorder response;
    Request::Head head;
    head.method = method;
    head.target = target;
    if (!request.reset(head, transport, clock.now())) return "malformed";
    router(response, request);
    allow = response.headers().get("Allow").value_or("");
    if (auto location = response.headers().get("Location")) {
      return std::to_string(response.code()) + " to " + std::string(*location);
    }
    return std::to_string(response.code()) + " " + (response.code() == 200 ? response.body : "");
  }

  SystemClock clock;
  leakwatch::TaskRegistry registry{clock};
  Router router{registry};
  NoTransport transport;
  std::string label;
  std::string allow;
};

}  // namespace

TEST_CASE("the most specific pattern wins") {
  Fixture f;
  for (const char* pattern :
       {"/", "/{$}", "/orders/{a}", "/orders/new", "/orders/{a}/items/{b}", "/orders/new/items/{b}",
        "/static/{a...}", "/static/logo", "/tree/", "GET /tree/leaf"}) {
    f.add(pattern);
  }
  CHECK(f.ask("GET", "/") == "200 /{$}");
  CHECK(f.ask("GET", "/nothing/else") == "200 /");
  CHECK(f.ask("GET", "/orders/new") == "200 /orders/new");
  CHECK(f.ask("GET", "/orders/7") == "200 /orders/{a} a=7");
  CHECK(f.ask("GET", "/orders/7/items/8") == "200 /orders/{a}/items/{b} a=7 b=8");
  CHECK(f.ask("GET", "/orders/new/items/8") == "200 /orders/new/items/{b} b=8");
  CHECK(f.ask("GET", "/orders/new/other") == "200 /");  // backtracks out of both branches
  CHECK(f.ask("GET", "/orders/") == "200 /");           // a wildcard is never empty
  CHECK(f.ask("GET", "/static/a/b") == "200 /static/{a...} a=a/b");
  CHECK(f.ask("GET", "/static/") == "200 /static/{a...} a=");
  CHECK(f.ask("GET", "/static/logo") == "200 /static/logo");
  CHECK(f.ask("GET", "/tree/") == "200 /tree/");
  CHECK(f.ask("POST", "/tree/leaf") == "200 /tree/");
  CHECK(f.ask("GET", "/tree/leaf") == "200 GET /tree/leaf");
  CHECK(f.label == "GET /tree/leaf");
  CHECK(f.transport.task != leakwatch::TaskId::kNone);
}

TEST_CASE("methods: HEAD by GET, 405 with Allow, 404") {
  Fixture f;
  f.add("GET /a");
  f.add("DELETE /a");
  f.add("GET /h");
  f.add("HEAD /h");
  CHECK(f.ask("HEAD", "/a") == "200 GET /a");
  CHECK(f.ask("HEAD", "/h") == "200 HEAD /h");
  CHECK(f.ask("POST", "/a") == "405 ");
  CHECK(f.allow == "DELETE, GET, HEAD");
  CHECK(f.ask("POST", "/b") == "404 ");
}

TEST_CASE("escapes are decoded once and never split segments") {
  Fixture f;
  f.add("/x/{a}");
  f.add("/lit%20eral");
  CHECK(f.ask("GET", "/x/a%2Fb") == "200 /x/{a} a=a/b");
  CHECK(f.ask("GET", "/x/%2541") == "200 /x/{a} a=%41");
  CHECK(f.ask("GET", "/lit%20eral") == "200 /lit%20eral");
  CHECK(f.ask("GET", "/x/%00") == "malformed");
  CHECK(f.ask("GET", "/x/%4") == "malformed");
}

TEST_CASE("P1.22: paths that are not clean are redirected, and not out of the server") {
  Fixture f;
  f.add("/static/{a...}");
  f.add("/tree/");
  CHECK(f.ask("GET", "/static/../../etc/passwd") == "301 to /etc/passwd");
  CHECK(f.ask("GET", "/static/%2e%2e/x") == "301 to /x");
  CHECK(f.ask("GET", "//evil.example/x") == "301 to /evil.example/x");
  CHECK(f.ask("POST", "/a//b?q=1") == "308 to /a/b?q=1");
  CHECK(f.ask("GET", "/tree") == "301 to /tree/");
  CHECK(f.ask("GET", "/other") == "404 ");
}

TEST_CASE("conflicting and malformed patterns are refused") {
  Fixture f;
  f.add("/a/{x}");
  f.add("GET /b/c");
  for (const char* pattern : {"/a/{y}", "/{x}/q", "GET /a/{x}/", "/b/{x}"}) {
    INFO(pattern);
    const bool expected = std::string(pattern) == "/a/{y}" || std::string(pattern) == "/{x}/q";
    CHECK(f.conflicts(pattern) == expected);
  }
  CHECK(f.conflicts("GET /{z}/c"));  // "/b/{x}" is more specific in the path, less in the method
  for (const char* pattern : {"", "a", "GET", "GET a", "/a//b", "/a/../b", "/{", "/{}", "/{a",
                              "/x{a}", "/{a}x", "/{a...}/b", "/{$}/b", "/{1}", "/{a}/{a}", "G(T /a",
                              "/%zz", "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}"}) {
    INFO(pattern);
    CHECK(f.conflicts(pattern));
  }
}

TEST_CASE("a route that finds no thread answers 503 and does not run") {
  Fixture f;
  f.add("/a");
  f.transport.admission = RouteAdmission::kBusy;
  CHECK(f.ask("GET", "/a") == "503 ");
  CHECK(f.label.empty());
  f.transport.admission = RouteAdmission::kRun;
  CHECK(f.ask("GET", "/a") == "200 /a");
}
