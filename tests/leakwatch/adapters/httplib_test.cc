// leakwatch/adapters/httplib.h with a real httplib::Server and its own client.
#include "leakwatch/adapters/httplib.h"

#include <future>
#include <optional>

#include "base/clock.h"
#include "leakwatch/client_connection.h"
#include "tests/support/catch.h"
#include "tests/support/raw_client.h"

namespace vigil::leakwatch {
namespace {

// A server on a port of its own, listening until the end of the scope.
class Listening {
 public:
  explicit Listening(httplib::Server& server, const char* address = "127.0.0.1")
      : server_(server), port_(server.bind_to_any_port(address)) {
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~Listening() {
    server_.stop();
    thread_.join();
  }
  httplib::Client client() const { return httplib::Client("127.0.0.1", port_); }
  HostPort address() const { return {"127.0.0.1", static_cast<std::uint16_t>(port_)}; }

 private:
  httplib::Server& server_;
  const int port_;
  std::thread thread_;
};

// What the registry has while a handler waits inside, and lets it go.
class Gate {
 public:
  void pass() {
    inside_.set_value();
    go_.get_future().wait();
  }
  void wait_until_inside() { inside_.get_future().wait(); }
  void open() { go_.set_value(); }

 private:
  std::promise<void> inside_;
  std::promise<void> go_;
};

struct Seen {
  std::vector<TaskInfo> tasks;
  std::optional<RequestInfo> request;  // of the first
};

Seen look(const TaskRegistry& registry) {
  Seen seen{registry.snapshot(), {}};
  if (!seen.tasks.empty()) seen.request = registry.request_of(seen.tasks[0].id);
  return seen;
}

struct Fixture {
  SystemClock clock;
  TaskRegistry registry{clock};
  HttplibServer<> server{registry};
  Gate gate;
};

TEST_CASE("httplib: a handler is a task called after its route, with its request") {
  Fixture f;
  f.server.Get("/orders/(\\d+)", [&](const httplib::Request& request, httplib::Response& response) {
    f.gate.pass();
    response.set_content("order " + request.matches[1].str(), "text/plain");
  });
  Seen seen;
  std::string body;
  {
    const Listening listening(f.server);
    std::thread client([&] {
      const auto answer = listening.client().Get("/orders/7?card=4711", {{"X-Request-Id", "r-1"}});
      if (answer) body = answer->body;
    });
    f.gate.wait_until_inside();
    seen = look(f.registry);
    f.gate.open();
    client.join();
  }
  REQUIRE(seen.tasks.size() == 1);
  CHECK(seen.tasks[0].label == "GET /orders/(\\d+)");
  REQUIRE(seen.request);
  CHECK(seen.request->method == "GET");
  CHECK(seen.request->target == "/orders/7?card=[redacted]");
  CHECK(seen.request->request_id == "r-1");
  CHECK(seen.request->peer.starts_with("127.0.0.1:"));
  CHECK(seen.request->peer.size() > std::string_view("127.0.0.1:").size());
  CHECK(body == "order 7");
  CHECK(f.registry.snapshot().empty());
}

TEST_CASE("httplib: every method, and handlers that read their body themselves") {
  Fixture f;
  std::mutex mutex;
  std::vector<std::string> labels;  // of the task that each handler ran in
  const auto note = [&](const httplib::Request&, httplib::Response&) {
    std::lock_guard lock(mutex);
    labels.emplace_back(f.registry.find(Task::current())->label);
  };
  const auto read = [&](const httplib::Request& request, httplib::Response& response,
                        const httplib::ContentReader& reader) {
    std::string got;
    reader([&](const char* data, std::size_t size) {
      got.append(data, size);
      return true;
    });
    note(request, response);
    response.set_content(got, "text/plain");
  };
  f.server.Get("/x", note).Post("/x", note).Put("/x", note).Patch("/x", note).Delete("/x", note);
  f.server.Options("/x", note).Post("/read", read).Put("/read", read).Patch("/read", read);
  f.server.Delete("/read", read);
  std::string echoed;
  {
    const Listening listening(f.server);
    httplib::Client client = listening.client();
    client.Get("/x");
    client.Post("/x", "", "text/plain");
    client.Put("/x", "", "text/plain");
    client.Patch("/x", "", "text/plain");
    client.Delete("/x");
    client.Options("/x");
    if (const auto answer = client.Post("/read", "a body", "text/plain")) echoed = answer->body;
    client.Put("/read", "b", "text/plain");
    client.Patch("/read", "c", "text/plain");
    client.Delete("/read", "d", "text/plain");
    client.Get("/nobody-serves-this");
  }
  CHECK(labels == std::vector<std::string>{"GET /x", "POST /x", "PUT /x", "PATCH /x", "DELETE /x",
                                           "OPTIONS /x", "POST /read", "PUT /read", "PATCH /read",
                                           "DELETE /read"});
  CHECK(echoed == "a body");
  CHECK(f.registry.counters().started == 10);
}

TEST_CASE("httplib: a handler that throws ends its task, and the server answers 500") {
  Fixture f;
  f.server.Get("/throw", [](const httplib::Request&, httplib::Response&) {
    throw std::runtime_error("on purpose");
  });
  int status = 0;
  {
    const Listening listening(f.server);
    if (const auto answer = listening.client().Get("/throw")) status = answer->status;
  }
  CHECK(status == 500);
  CHECK(f.registry.counters().started == 1);
  CHECK(f.registry.snapshot().empty());
}

enum class Leaves { kNot, kWithClose, kWithReset };

// What is known of a request whose handler waits when its client has done as it is told.
RequestInfo request_of_client(Leaves leaves, const char* address) {
  Fixture f;
  f.server.Get("/wait", [&](const httplib::Request&, httplib::Response&) { f.gate.pass(); });
  Seen seen;
  {
    const Listening listening(f.server, address);
    test::RawClient client(listening.address());
    client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    f.gate.wait_until_inside();
    if (leaves == Leaves::kWithReset) client.reset_on_close();
    // On the loopback the other end knows when close() returns.
    if (leaves != Leaves::kNot) client.close();
    seen = look(f.registry);
    f.gate.open();
  }
  REQUIRE(seen.request);
  return *seen.request;
}

TEST_CASE("httplib: a task whose client has closed or reset its connection is abandoned") {
  CHECK_FALSE(request_of_client(Leaves::kNot, "127.0.0.1").client_gone);
  CHECK(request_of_client(Leaves::kWithClose, "127.0.0.1").client_gone);
  CHECK(request_of_client(Leaves::kWithReset, "127.0.0.1").client_gone);
}

TEST_CASE("httplib: a client of IPv4 on a socket of IPv6 is looked up too") {
  const RequestInfo stays = request_of_client(Leaves::kNot, "::");
  CHECK(stays.peer.starts_with("[::ffff:127.0.0.1]:"));
  CHECK_FALSE(stays.client_gone);
  CHECK(request_of_client(Leaves::kWithClose, "::").client_gone);
}

TEST_CASE("a connection that nobody knows is not said to be gone") {
  CHECK_FALSE(client_is_gone("127.0.0.1:1", "127.0.0.1:2"));
  CHECK_FALSE(client_is_gone("127.0.0.1:1", "[::1]:2"));
  CHECK_FALSE(client_is_gone("here", "127.0.0.1:2"));
  CHECK_FALSE(client_is_gone("", ""));
}

TEST_CASE("httplib: a content provider runs in tasks of its own, behind the handler") {
  Fixture f;
  f.server.Get("/export", [&](const httplib::Request&, httplib::Response& response) {
    response.set_chunked_content_provider("text/plain", [&](std::size_t, httplib::DataSink& sink) {
      f.gate.pass();
      sink.write("all", 3);
      sink.done();
      return true;
    });
  });
  Seen seen;
  std::string body;
  {
    const Listening listening(f.server);
    std::thread client([&] {
      if (const auto answer = listening.client().Get("/export")) body = answer->body;
    });
    f.gate.wait_until_inside();
    seen = look(f.registry);
    f.gate.open();
    client.join();
  }
  REQUIRE(seen.tasks.size() == 1);
  CHECK(seen.tasks[0].label == "GET /export content");
  CHECK(body == "all");
}

TEST_CASE("httplib: other handlers can be made tasks one by one") {
  SystemClock clock;
  TaskRegistry registry(clock);
  httplib::Server server;  // as it was
  std::string label;
  server.Get("/plain", httplib_handler(registry, "plain page",
                                       [&](const httplib::Request&, httplib::Response&) {
                                         label = registry.find(Task::current())->label;
                                       }));
  {
    const Listening listening(server);
    listening.client().Get("/plain");
  }
  CHECK(label == "plain page");
}

}  // namespace
}  // namespace vigil::leakwatch
