// A real server on a free port of 127.0.0.1, with routes that the socket tests share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "leakwatch/task_registry.h"
#include "server-core/router.h"
#include "server-core/server.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_client.h"

namespace vigil::test {

// Handlers wait in it while it is closed, as it is at first.
class Gate {
 public:
  void wait();
  void open();
  void close();
  int waiting() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0;
};

// What handlers note down for the test: "ok" or an error's name each time.
class Notes {
 public:
  template <typename T>
  void add(const Result<T>& result) {
    const std::lock_guard lock(mutex_);
    if (!text_.empty()) text_ += " ";
    text_ += result ? "ok" : error_code_name(result.error().code());
  }
  // All since the last call.
  std::string take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(text_, {});
  }

 private:
  std::mutex mutex_;
  std::string text_;  // guarded by mutex_
};

class QuietSink final : public LogSink {
 public:
  void write(const LogRecord& record) noexcept override;
  std::size_t lines() const;
  bool saw(std::string_view text) const { return count(text) > 0; }
  // How often `text` is in the records.
  int count(std::string_view text) const;

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

// Allocates nothing: for tests in which memory runs out.
class NullSink final : public LogSink {
 public:
  void write(const LogRecord&) noexcept override {}
};

// `time` from now: a deadline for what a test asks the server to do.
MonotonicTime in(Duration time);

// Adds a route that must be a valid one.
void add(http::Router& router, const char* pattern, http::Handler handler);

// The next `size` bytes, or what came before the connection's end.
std::string read_exactly(RawClient& client, std::size_t size);

// Options for tests: deadlines of the defaults, two pollers.
http::ServerOptions test_options();

class TestServer {
 public:
  // Routes: GET /hello, GET /hold (waits in `gate`), /echo (body back; "error: <code>" instead if
  // reading fails), /noread, GET /big?n=, GET /stop (waits for its stop token), GET /throw, plus
  // what `add` adds.
  explicit TestServer(http::ServerOptions options = test_options(),
                      const std::function<void(http::Router&)>& add = {});
  ~TestServer();

  http::Server& operator*() { return *server; }
  http::Server* operator->() { return server.get(); }
  RawClient connect() { return RawClient(server->endpoint()); }
  // A client whose connection has been served once, and rests.
  RawClient connect_idle();
  // A client whose request is held by the gate, in /hold's handler.
  RawClient connect_held();
  http::ServerStats stats() const { return server->stats(); }
  // "<status> <body>" of one request on a connection of its own.
  std::string get(const std::string& target);

  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry{clock};
  Gate gate;
  std::atomic<int> stopped{0};       // handlers of /stop that saw their token
  std::atomic<int> read_errors{0};   // in /echo
  std::atomic<int> write_errors{0};  // in /big
  std::unique_ptr<http::Server> server;
};

// A server that has not been started, without routes or counters: `handle` answers everything.
class BareServer {
 public:
  explicit BareServer(
      http::Handler handle = [](http::ResponseWriter&, http::Request&) {},
      http::ServerOptions options = test_options());

  http::Server* operator->() { return server.get(); }
  RawClient connect() { return RawClient(server->endpoint()); }

  SystemClock clock;
  QuietSink sink;
  leakwatch::TaskRegistry registry{clock};
  std::unique_ptr<http::Server> server;
};

// shutdown() on a thread of its own.
class Shutdown {
 public:
  Shutdown(http::Server& server, MonotonicTime deadline)
      : thread_([this, &server, deadline] { report_ = server.shutdown(deadline); }) {}
  ~Shutdown() {
    if (thread_.joinable()) thread_.join();
  }
  // Once. Its report, when it has returned.
  http::ShutdownReport wait() {
    thread_.join();
    return report_;
  }

 private:
  http::ShutdownReport report_;
  std::thread thread_;
};

std::string get_request(const std::string& target, const std::string& fields = {});

}  // namespace vigil::test
