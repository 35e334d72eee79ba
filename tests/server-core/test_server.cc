#include "tests/server-core/test_server.h"

#include <algorithm>
#include <thread>

#include "tests/support/catch.h"

namespace vigil::test {

using http::Request;
using http::ResponseWriter;

void Gate::wait() {
  std::unique_lock lock(mutex_);
  ++waiting_;
  changed_.wait(lock, [&] { return open_; });
  --waiting_;
}

void Gate::open() {
  std::lock_guard lock(mutex_);
  open_ = true;
  changed_.notify_all();
}

void Gate::close() {
  std::lock_guard lock(mutex_);
  open_ = false;
}

int Gate::waiting() const {
  std::lock_guard lock(mutex_);
  return waiting_;
}

void QuietSink::write(const LogRecord& record) noexcept {
  std::lock_guard lock(mutex_);
  if (text_.size() < 1 << 20) text_ += to_json_line(record);
}

int QuietSink::count(std::string_view text) const {
  std::lock_guard lock(mutex_);
  int count = 0;
  for (std::size_t at = 0; (at = text_.find(text, at)) != std::string::npos; ++at) ++count;
  return count;
}

std::size_t QuietSink::lines() const {
  std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count(text_.begin(), text_.end(), '\n'));
}

MonotonicTime in(Duration time) { return SystemClock().now() + time; }

void add(http::Router& router, const char* pattern, http::Handler handler) {
  REQUIRE(router.handle(pattern, std::move(handler)).ok());
}

std::string read_exactly(RawClient& client, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    const std::string more = client.read_some();
    if (more.empty()) break;
    text += more;
  }
  return text;
}

http::ServerOptions test_options() {
  http::ServerOptions options;
  options.pollers = 2;
  return options;
}

namespace {

void echo(ResponseWriter& response, Request& request, std::atomic<int>& errors) {
  char bytes[4096];
  while (true) {
    const Result<std::size_t> got = request.read(bytes);
    if (!got) {
      ++errors;
      response.headers().set("X-Error", error_code_name(got.error().code()));
      return http::write_error(response, 400, error_code_name(got.error().code()));
    }
    if (*got == 0) break;
    if (!response.write({bytes, *got})) return;
  }
  for (std::size_t i = 0; i < request.trailers().size(); ++i) {
    (void)response.write("|" + std::string(request.trailers().at(i).name));
  }
}

void big(ResponseWriter& response, Request& request, std::atomic<int>& errors) {
  const std::string block(10'000, 'x');
  auto left = static_cast<std::size_t>(std::stoull(std::string(request.query("n").value_or("0"))));
  while (left > 0) {
    const std::size_t size = std::min(left, block.size());
    if (!response.write(std::string_view(block).substr(0, size))) {
      ++errors;
      return;
    }
    left -= size;
  }
}

void wait_for_stop(ResponseWriter& response, Request& request, std::atomic<int>& stopped) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  const bool never = changed.wait(lock, request.stop_token(), [] { return false; });
  if (!never) ++stopped;
  (void)response.write("stopped\n");
}

}  // namespace

TestServer::TestServer(http::ServerOptions options,
                       const std::function<void(http::Router&)>& add_more) {
  http::Router router(registry);
  add(router, "GET /hello",
      [](ResponseWriter& response, Request&) { (void)response.write("hello\n"); });
  add(router, "GET /hold", [this](ResponseWriter& response, Request&) {
    gate.wait();
    (void)response.write("released\n");
  });
  add(router, "/echo",
      [this](ResponseWriter& response, Request& request) { echo(response, request, read_errors); });
  add(router, "/noread",
      [](ResponseWriter& response, Request&) { (void)response.write("unread\n"); });
  add(router, "GET /big",
      [this](ResponseWriter& response, Request& request) { big(response, request, write_errors); });
  add(router, "GET /stop", [this](ResponseWriter& response, Request& request) {
    wait_for_stop(response, request, stopped);
  });
  add(router, "GET /throw",
      [](ResponseWriter&, Request&) { throw std::runtime_error("secret text"); });
  if (add_more) add_more(router);
  auto created = http::Server::create(std::move(options), router, registry, sink, clock);
  REQUIRE(created.ok());
  server = *std::move(created);
  REQUIRE(server->start().ok());
}

TestServer::~TestServer() { gate.open(); }

std::string TestServer::get(const std::string& target) {
  RawClient client = connect();
  client.send(get_request(target));
  const RawResponse response = client.read_response();
  return std::to_string(response.status) + " " + response.body;
}

RawClient TestServer::connect_idle() {
  const std::uint64_t before = stats().connections.idle;
  RawClient client = connect();
  client.send(get_request("/hello"));
  REQUIRE(client.read_response().status == 200);
  // The answer is out before its connection is at rest.
  REQUIRE(eventually([&] { return stats().connections.idle > before; }));
  return client;
}

RawClient TestServer::connect_held() {
  RawClient client = connect();
  const int before = gate.waiting();
  client.send(get_request("/hold"));
  REQUIRE(eventually([&] { return gate.waiting() == before + 1; }));
  return client;
}

BareServer::BareServer(http::Handler handle, http::ServerOptions options) {
  auto created = http::Server::create(std::move(options), std::move(handle), registry, sink, clock);
  REQUIRE(created.ok());
  server = *std::move(created);
}

std::string get_request(const std::string& target, const std::string& fields) {
  return "GET " + target + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
}

}  // namespace vigil::test
