// leakwatch/adapters/asio.h with a real io_context.
#include "leakwatch/adapters/asio.h"

#include <atomic>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>

#include "base/clock.h"
#include "tests/support/catch.h"

namespace vigil::leakwatch {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

struct Fixture {
  SystemClock clock;
  TaskRegistry registry{clock};
  TaskLabel label = registry.intern("on_message");
  asio::io_context context;

  // The label of the task that the caller runs in; empty outside any.
  std::string current() const {
    const auto task = registry.find(Task::current());
    return task ? std::string(task->label) : "";
  }
};

TEST_CASE("asio: a posted handler runs in a task that ends with it") {
  Fixture f;
  std::string inside;
  std::size_t live_inside = 0;
  asio::post(f.context, task_handler(f.registry, f.label, [&] {
               inside = f.current();
               live_inside = f.registry.snapshot().size();
             }));
  std::string outside = "not run";
  asio::post(f.context, [&] { outside = f.current(); });
  f.context.run();
  CHECK(inside == "on_message");
  CHECK(live_inside == 1);
  CHECK(outside.empty());
  CHECK(f.registry.snapshot().empty());
}

TEST_CASE("asio: handlers of sockets and timers get their arguments, in their task") {
  Fixture f;
  tcp::acceptor acceptor(f.context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  tcp::socket server(f.context);
  tcp::socket client(f.context);
  std::string buffer;
  std::vector<std::string> labels;
  std::size_t got = 0;
  const auto in_task = [&](auto handler) {
    return task_handler(f.registry, f.label, std::move(handler));
  };
  acceptor.async_accept(server, in_task([&](error_code) {
                          labels.push_back(f.current());
                          asio::async_read_until(server, asio::dynamic_buffer(buffer), '\n',
                                                 in_task([&](error_code, std::size_t bytes) {
                                                   labels.push_back(f.current());
                                                   got = bytes;
                                                 }));
                        }));
  client.async_connect(acceptor.local_endpoint(), in_task([&](error_code) {
                         labels.push_back(f.current());
                         asio::write(client, asio::buffer("hello\n", 6));
                       }));
  asio::steady_timer timer(f.context, std::chrono::milliseconds(1));
  error_code expired = asio::error::fault;
  timer.async_wait(in_task([&](error_code error) {
    labels.push_back(f.current());
    expired = error;
  }));
  f.context.run();
  CHECK(labels == std::vector<std::string>(4, "on_message"));
  CHECK(got == 6);
  CHECK_FALSE(expired);
}

TEST_CASE("asio: a handler keeps its strand, on several threads") {
  Fixture f;
  auto strand = asio::make_strand(f.context);
  int inside = 0;  // unprotected: the strand is what is tested
  std::atomic<int> together{0};
  constexpr int kHandlers = 2'000;
  int done = 0;
  for (int i = 0; i < kHandlers; ++i) {
    asio::post(f.context, task_handler(f.registry, f.label, asio::bind_executor(strand, [&] {
                                         if (++inside > 1) ++together;
                                         ++done;
                                         --inside;
                                       })));
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { f.context.run(); });
  for (std::thread& thread : threads) thread.join();
  CHECK(together == 0);
  CHECK(done == kHandlers);
  CHECK(f.registry.counters().started == kHandlers);
}

TEST_CASE("asio: a completion token may stand for the handler: futures and coroutines") {
  Fixture f;
  asio::steady_timer timer(f.context, std::chrono::milliseconds(1));
  auto future = timer.async_wait(task_handler(f.registry, f.label, asio::use_future));
  std::string resumed_in;
  asio::co_spawn(
      f.context,
      [&]() -> asio::awaitable<void> {
        asio::steady_timer inner(f.context, std::chrono::milliseconds(1));
        co_await inner.async_wait(task_handler(f.registry, f.label, asio::use_awaitable));
        resumed_in = f.current();
      },
      asio::detached);
  f.context.run();
  CHECK_NOTHROW(future.get());
  CHECK(resumed_in == "on_message");
}

TEST_CASE("asio: a handler that throws ends its task, and the exception comes out of run") {
  Fixture f;
  asio::post(f.context,
             task_handler(f.registry, f.label, [] { throw std::runtime_error("on purpose"); }));
  CHECK_THROWS_WITH(f.context.run(), "on purpose");
  CHECK(f.registry.snapshot().empty());
  CHECK(f.registry.counters().started == 1);
}

}  // namespace
}  // namespace vigil::leakwatch
