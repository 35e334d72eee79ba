// The order in which an application ends, and how its process ends where that takes too long. Each
// case runs an application in a child process: it ends it.
#include "agent/application.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>

#include "base/fd.h"
#include "tests/support/catch.h"
#include "tests/support/raw_client.h"

using namespace std::chrono_literals;

namespace vigil::test {
namespace {

struct Ended {
  int exit_status = -1;
  int signal = 0;
  std::string text;  // what the child has written, its log among it
  std::chrono::nanoseconds took{0};
};

// A child process that runs `work` with a descriptor to write to, and exits with what it returns.
class Child {
 public:
  explicit Child(const std::function<int(int out)>& work) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    begin_ = std::chrono::steady_clock::now();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::alarm(30);  // a child that hangs ends
      ::close(ends[0]);
      ::_exit(work(ends[1]));
    }
    ::close(ends[1]);
    out_.reset(ends[0]);
  }

  // Reads until the child has written `text`.
  bool wait_for(const std::string& text) {
    while (text_.find(text) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  void kill(int signal) const { ::kill(pid_, signal); }
  HostPort server() {
    REQUIRE(wait_for("port "));
    REQUIRE(wait_for(";"));
    return {"127.0.0.1", number_after("port ")};
  }
  std::uint16_t number_after(const std::string& text) const {
    return static_cast<std::uint16_t>(std::stoi(text_.substr(text_.find(text) + text.size())));
  }

  Ended wait() {
    while (read_some()) {
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    Ended ended;
    if (WIFEXITED(status)) ended.exit_status = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
    ended.text = text_;
    ended.took = std::chrono::steady_clock::now() - begin_;
    return ended;
  }

 private:
  bool read_some() {
    char bytes[4096];
    const ssize_t got = ::read(out_.get(), bytes, sizeof(bytes));
    if (got <= 0) return false;
    text_.append(bytes, static_cast<std::size_t>(got));
    return true;
  }

  pid_t pid_ = -1;
  UniqueFd out_;
  std::string text_;
  std::chrono::steady_clock::time_point begin_;
};

void say(int out, const std::string& text) {
  [[maybe_unused]] const ssize_t written = ::write(out, text.data(), text.size());
}

// What a child has: a server whose handler runs `handle`, and an application that owns it.
struct Service {
  Service(int out, Duration timeout, http::Handler handle)
      : sink(out), application(*Application::create({.shutdown_timeout = timeout}, sink, clock)) {
    http::ServerOptions options;
    options.pollers = 1;
    server = *http::Server::create(options, std::move(handle), registry, sink, clock);
    application->add_server(*server);
    say(out, "port " + std::to_string(server->endpoint().port) + ";");
  }
  SystemClock clock;
  JsonLineSink sink;
  leakwatch::TaskRegistry registry{clock};
  std::unique_ptr<Application> application;
  std::unique_ptr<http::Server> server;
};

void ignore(http::ResponseWriter&, http::Request&) {}

// A request whose body is too long to be collected: its handler runs, and reads, until finish().
class LongRequest {
 public:
  explicit LongRequest(const HostPort& server) : client_(server) {
    client_.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
  }
  RawResponse finish() {
    client_.send(std::string(100'000, 'x'));
    RawResponse response = client_.read_response();
    client_.close();
    return response;
  }

 private:
  RawClient client_;
};

void await_refusal(const HostPort& server) {
  while (RawClient(server).connected()) std::this_thread::yield();
}

Application::Step saying(int out, const std::string& text) {
  return [out, text](MonotonicTime) { say(out, text); };
}

TEST_CASE(
    "servers end first, then workers, then stores, the last added first, and all is status 0") {
  Child child([](int out) {
    std::atomic<bool> store_open{true};
    Service service(out, 20s, [&](http::ResponseWriter& response, http::Request& request) {
      say(out, "[handling]");
      (void)request.read_all(1 << 20);  // goes on after the signal
      (void)response.write(store_open ? "store is open" : "store is gone");
      say(out, "[handled]");
    });
    service.application->add_store("db", [&](MonotonicTime) {
      store_open = false;
      say(out, "[db]");
    });
    service.application->add_store("cache", saying(out, "[cache]"));
    service.application->add_worker("mailer", saying(out, "[mailer]"));
    service.application->add_worker("reaper", saying(out, "[reaper]"));
    return *service.application->run();
  });
  const HostPort server = child.server();
  LongRequest request(server);
  REQUIRE(child.wait_for("[handling]"));
  child.kill(SIGTERM);
  await_refusal(server);
  const RawResponse response = request.finish();
  const Ended ended = child.wait();
  CHECK(response.body == "store is open");
  CHECK(response.header("connection") == "close");
  CHECK(ended.exit_status == 0);
  std::string order;
  for (std::size_t at = ended.text.find('['); at != std::string::npos;
       at = ended.text.find('[', at + 1)) {
    order += ended.text.substr(at, ended.text.find(']', at) + 1 - at);
  }
  CHECK(order == "[handling][handled][reaper][mailer][cache][db]");
}

TEST_CASE("SIGINT ends it too, and so does stop() from a handler") {
  Child by_signal([](int out) {
    Service service(out, 20s, ignore);
    return *service.application->run();
  });
  (void)by_signal.server();
  by_signal.kill(SIGINT);
  CHECK(by_signal.wait().exit_status == 0);

  Child by_request([](int out) {
    Application* application = nullptr;
    Service service(out, 20s, [&](http::ResponseWriter& response, http::Request&) {
      application->stop();
      application->stop();
      (void)response.write("bye");
    });
    application = service.application.get();
    return *service.application->run();
  });
  RawClient client(by_request.server());
  client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  CHECK(client.read_response().body == "bye");
  client.close();
  CHECK(by_request.wait().exit_status == 0);
}

TEST_CASE("a signal that comes before run() is not lost") {
  Child child([](int out) {
    Service service(out, 20s, ignore);
    ::raise(SIGTERM);
    return *service.application->run();
  });
  CHECK(child.wait().exit_status == 0);
}

// What becomes of a child that is told to end once it has said `text`, and that has 500 ms for what
// does not end by itself.
Ended ended_at_deadline(Child& child, const std::string& text) {
  REQUIRE(child.wait_for(text));
  const auto begin = std::chrono::steady_clock::now();
  child.kill(SIGTERM);
  Ended ended = child.wait();
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(ended.exit_status == Application::kExitForced);
  CHECK(took >= 500ms);
  CHECK(took < 2500ms);
  return ended;
}

TEST_CASE("P4.3: with a stuck handler the stores are not touched, and the status is 1") {
  Child child([](int out) {
    Service service(out, 500ms, [out](http::ResponseWriter&, http::Request&) {
      say(out, "[handling]");
      while (true) ::pause();
    });
    service.application->add_worker("worker", saying(out, "[worker]"));
    service.application->add_store("db", saying(out, "[db]"));
    return *service.application->run();
  });
  RawClient client(child.server());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const Ended ended = ended_at_deadline(child, "[handling]");
  CHECK(ended.text.find("[worker]") == std::string::npos);
  CHECK(ended.text.find("[db]") == std::string::npos);
  CHECK(ended.text.find("\"still_running\":1") != std::string::npos);
}

TEST_CASE("P4.6: a hijacked connection that stays is cut at the deadline, and the status is 1") {
  Child child([](int out) {
    Service service(out, 500ms, [out](http::ResponseWriter& response, http::Request&) {
      Result<http::HijackedConnection> connection = response.hijack();
      if (!connection) return;
      say(out, "[hijacked]");
      char byte;
      while (true) {
        const Result<std::size_t> got = connection->read({&byte, 1}, kNoDeadline);
        if (!got || *got == 0) break;
      }
    });
    return *service.application->run();
  });
  RawClient client(child.server());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const Ended ended = ended_at_deadline(child, "[hijacked]");
  CHECK(ended.text.find("\"hijacked_closed\":0,\"hijacked_forced\":1") != std::string::npos);
  CHECK(client.closed_within(5s));
}

TEST_CASE("a step that does not keep the deadline is named, and the status is 1") {
  Child child([](int out) {
    Service service(out, 300ms, ignore);
    service.application->add_store("db", saying(out, "[db]"));
    service.application->add_worker("mailer", [out](MonotonicTime) {
      say(out, "[stuck]");
      while (true) ::pause();
    });
    return *service.application->run();
  });
  (void)child.server();
  child.kill(SIGTERM);
  REQUIRE(child.wait_for("[stuck]"));
  const Ended ended = child.wait();
  CHECK(ended.exit_status == Application::kExitForced);
  CHECK(ended.text.find("\"msg\":\"shutdown deadline passed\",\"step\":\"mailer\"") !=
        std::string::npos);
  CHECK(ended.text.find("[db]") == std::string::npos);
}

TEST_CASE("a step that throws is logged, those behind it run, and the status is 1") {
  Child child([](int out) {
    Service service(out, 20s, ignore);
    service.application->add_store("db", saying(out, "[db]"));
    service.application->add_worker(
        "mailer", [](MonotonicTime) { throw std::runtime_error("no route to the relay"); });
    return *service.application->run();
  });
  (void)child.server();
  child.kill(SIGTERM);
  const Ended ended = child.wait();
  CHECK(ended.exit_status == Application::kExitForced);
  CHECK(ended.text.find("no route to the relay") != std::string::npos);
  CHECK(ended.text.find("[db]") != std::string::npos);
}

TEST_CASE("P4.7: a second signal is the end, at once") {
  Child child([](int out) {
    Service service(out, 20s, ignore);
    service.application->add_worker("slow", [out](MonotonicTime) {
      say(out, "[slow]");
      while (true) ::pause();
    });
    return *service.application->run();
  });
  (void)child.server();
  child.kill(SIGTERM);
  REQUIRE(child.wait_for("[slow]"));
  const auto begin = std::chrono::steady_clock::now();
  child.kill(SIGTERM);
  const Ended ended = child.wait();
  CHECK(ended.signal == SIGTERM);
  CHECK(std::chrono::steady_clock::now() - begin < 1s);
}

TEST_CASE("several servers stop accepting at the same time") {
  Child child([](int out) {
    Service service(out, 20s, [out](http::ResponseWriter&, http::Request& request) {
      say(out, "[handling]");
      (void)request.read_all(1 << 20);
    });
    http::ServerOptions options;
    options.pollers = 1;
    auto second =
        *http::Server::create(options, ignore, service.registry, service.sink, service.clock);
    service.application->add_server(*second);
    say(out, "second " + std::to_string(second->endpoint().port) + ".");
    return *service.application->run();
  });
  const HostPort first = child.server();
  REQUIRE(child.wait_for("second "));
  REQUIRE(child.wait_for("."));
  const HostPort second = {"127.0.0.1", child.number_after("second ")};
  LongRequest busy(first);
  REQUIRE(child.wait_for("[handling]"));
  child.kill(SIGTERM);
  const auto begin = std::chrono::steady_clock::now();
  await_refusal(first);
  await_refusal(second);
  CHECK(std::chrono::steady_clock::now() - begin < 500ms);
  CHECK(busy.finish().status == 200);
  CHECK(child.wait().exit_status == 0);
}

TEST_CASE("a server that cannot start is an error, and those before it are closed") {
  SystemClock clock;
  JsonLineSink sink(2, LogLevel::kError);
  leakwatch::TaskRegistry registry(clock);
  auto application = Application::create({}, sink, clock);
  REQUIRE(application.ok());
  http::ServerOptions options;
  options.pollers = 1;
  auto first = http::Server::create(options, ignore, registry, sink, clock);
  auto second = http::Server::create(options, ignore, registry, sink, clock);
  REQUIRE((first.ok() && second.ok()));
  (*second)->close();
  (*application)->add_server(**first);
  (*application)->add_server(**second);
  const Result<int> status = (*application)->run();
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code() == ErrorCode::kClosed);
  CHECK((*first)->start().error().code() == ErrorCode::kClosed);
}

}  // namespace
}  // namespace vigil::test
