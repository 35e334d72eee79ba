// The engine when memory runs out, and what it allocates at all: operator new is replaced in this
// executable.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>
#include <vector>

#include "server-core/engine_thread.h"
#include "tests/server-core/test_server.h"
#include "tests/support/catch.h"
#include "tests/support/http2_client.h"

using namespace std::chrono_literals;
using namespace vigil;
using namespace vigil::test;

namespace {

// Allocations by engine threads since the last arm().
constinit std::atomic<std::uint64_t> allocations{0};
constinit std::atomic<std::uint64_t> fail_at{0};  // 0: none

void arm(std::uint64_t at) {
  allocations = 0;
  fail_at = at;
}

void* allocate(std::size_t size, std::size_t alignment) {
  if (http::EngineThread::current() != nullptr && ++allocations == fail_at) throw std::bad_alloc();
  size = (size + alignment - 1) / alignment * alignment;
  void* memory = alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, size)
                                                       : std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

std::size_t open_descriptors() {
  namespace fs = std::filesystem;
  const auto all = fs::directory_iterator("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(fs::begin(all), fs::end(all)));
}

// A server whose engine does something of everything, with one slot: one that leaks is seen by the
// next request.
struct EchoServer {
  EchoServer() {
    REQUIRE(router
                .handle("/echo/{name}",
                        [](http::ResponseWriter& response, http::Request& request) {
                          (void)request.stop_token();
                          const Result<std::string> body = request.read_all(1 << 20);
                          if (!body) return http::write_error(response, 500);
                          response.headers().set("X-Name", request.path_value("name").value_or(""));
                          response.headers().set("X-Query", request.query("q").value_or(""));
                          (void)response.write(*body);
                        })
                .ok());
    REQUIRE(router
                .handle("GET /throw",
                        [](auto&, auto&) { throw std::runtime_error("a long enough text"); })
                .ok());
    auto options = test_options();
    options.http2_cleartext = true;
    options.max_in_flight = 1;
    options.max_queue = 2;
    options.queue_timeout = 100ms;
    options.max_connections_per_ip = 1000;
    auto created = http::Server::create(options, router, registry, sink, clock);
    REQUIRE(created.ok());
    server = *std::move(created);
    REQUIRE(server->start().ok());
  }
  bool one_request_works() {
    RawClient client(server->endpoint());
    client.send("GET /echo/plain HTTP/1.1\r\nHost: x\r\n\r\n");
    return client.read_response().status == 200;
  }

  SystemClock clock;
  NullSink sink;
  leakwatch::TaskRegistry registry{clock};
  http::Router router{registry};
  std::unique_ptr<http::Server> server;
};

constexpr std::uint64_t kCallsMax = 2000;

}  // namespace

void* operator new(std::size_t size) { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

TEST_CASE("P3.9: operator new failing at the N-th call of a request: 5xx or a close, no more") {
  EchoServer echo;
  http::Server& server = *echo.server;

  const std::string plain = "GET /echo/plain HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string long_value(300, 'v');
  const std::vector<std::vector<std::string>> requests = {
      {plain},
      {"POST /echo/%61bc?q=%41" + long_value +
           " HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n",
       std::string(70'000, 'b')},
      {"POST /echo/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
       "0\r\nTrailer-" + long_value + ": " + long_value + "\r\n\r\n" + plain},
      {"GET /echo/in-parts HTTP/1.1\r\nHo", "st: x\r\nA: " + long_value + "\r\n\r\n"},
      {"GET /throw HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"GET //echo/../" + long_value + " HTTP/1.1\r\nHost: x\r\n\r\n"},
      {"BAD \x01 HTTP/1.1\r\n\r\n"},
  };
  REQUIRE(echo.one_request_works());
  const std::size_t descriptors = open_descriptors();
  std::uint64_t failed = 0;
  for (const auto& parts : requests) {
    std::uint64_t calls = kCallsMax;
    for (std::uint64_t n = 1; n <= std::min(kCallsMax, calls + 2); ++n) {
      INFO(parts.front().substr(0, 30) << ", call " << n);
      arm(n);
      {
        RawClient client(server.endpoint());
        for (const std::string& part : parts) {
          client.send(part);
          if (&part != &parts.back()) client.receive(2ms);  // so that it arrives in parts
        }
        const RawResponse response = client.read_response();
        const bool refused = response.status >= 400 || response.status == 0;
        calls = allocations;
        failed += calls >= n;
        fail_at = 0;
        if (calls >= n) CHECK((refused || response.complete));
        if (response.status != 0 && response.status < 500) CHECK(response.complete);
      }
      REQUIRE(echo.one_request_works());
    }
  }
  CHECK(failed > 50);
  CHECK(server.stats().out_of_memory > 0);
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(eventually([&] { return open_descriptors() <= descriptors; }));
  CHECK(server.stats().connections.queued == 0);
}

TEST_CASE("P3.9: operator new failing at the N-th call of a stream: 5xx, a reset or a close") {
  EchoServer echo;
  http::Server& server = *echo.server;
  const std::string long_value(300, 'v');
  const std::string half(30'000, 'b');
  // What comes in parts, so that the handler of one waits for it, and for a slot behind another.
  const std::vector<std::vector<std::string>> requests = {
      {h2::get(1, "/echo/plain")},
      {h2::post(1, "/echo/%61bc?q=%41" + long_value) + h2::data(1, "hello", h2::kNone),
       h2::data(1, half.substr(0, 16'000), h2::kNone),
       h2::headers(1, {{"trailer-" + long_value, long_value}})},
      {h2::post(1, "/echo/first", {{"expect", "100-continue"}}) + h2::get(3, "/echo/second") +
           h2::get(5, "/echo/third"),
       h2::rst(5), h2::data(1, "body")},
      {h2::get(1, "/throw")},
      {h2::get(1, "/echo/a", {{"cookie", long_value}, {"cookie", long_value}})},
      {h2::get(1, "bad target")},
  };
  REQUIRE(echo.one_request_works());
  const std::size_t descriptors = open_descriptors();
  std::uint64_t failed = 0;
  std::uint64_t answered = 0;
  for (const auto& parts : requests) {
    std::uint64_t calls = kCallsMax;
    for (std::uint64_t n = 1; n <= std::min(kCallsMax, calls + 2); ++n) {
      INFO("request " << &parts - requests.data() << ", call " << n);
      arm(n);
      {
        Http2Client client(RawClient(server.endpoint()));
        for (const std::string& part : parts) {
          client.send(part);
          if (&part != &parts.back()) (void)client.until([] { return false; }, 2ms);
        }
        const bool told = client.answered(1) || client.raw.ended();
        calls = allocations;
        failed += calls >= n;
        fail_at = 0;
        CHECK(told);
        const h2::Response& response = client.reader.response(1);
        answered += response.ended && response.status == 200;
        if (response.ended && response.status == 200) CHECK(response.header("x-name") != "");
        CHECK(client.reader.sound());
      }
      REQUIRE(echo.one_request_works());
    }
  }
  CHECK(failed > 50);
  CHECK(answered > 5);
  CHECK(server.stats().out_of_memory > 0);
  CHECK(eventually([&] { return server.stats().connections.open() == 0; }));
  CHECK(eventually([&] { return open_descriptors() <= descriptors; }));
  CHECK(eventually([&] { return server.stats().queue.waiting == 0; }));
}

TEST_CASE("a kept-alive GET allocates nothing in the engine") {
  auto options = test_options();
  options.pollers = 1;
  TestServer server(options);
  RawClient client = server.connect();
  const std::string request = get_request("/hello");
  const auto count_in = [&](int requests) {
    arm(0);
    for (int i = 0; i < requests; ++i) {
      client.send(request);
      if (client.read_response().status != 200) return std::uint64_t{1'000'000};
    }
    return allocations.load();
  };
  CHECK(count_in(200) > 0);  // a new thread's buffers: the count counts
  // On a busy machine a handler that was preempted is taken for slow, and runs on threads that have
  // to warm up first: not what is counted here.
  std::uint64_t least = 1'000'000;
  for (int i = 0; i < 10 && least > 0; ++i) least = std::min(least, count_in(1000));
  CHECK(least == 0);
}
