// cpp-httplib: each activation of a handler is a task. Header-only: the program brings the library.
//
//   vigil::leakwatch::HttplibServer server(registry);            // was: httplib::Server server;
//   server.Get("/orders/(\\d+)", [](const httplib::Request&, httplib::Response&) { … });
//   server.listen("127.0.0.1", 8080);
//
// The type is all that changes. A task is called after its route ("GET /orders/(\d+)"), and lends
// its request to reports: method, target, peer, X-Request-Id. With TLS:
//
//   vigil::leakwatch::HttplibServer<httplib::SSLServer> server(registry, "cert.pem", "key.pem");
//
// What the library does outside handlers is no task: reading requests, writing bodies that are
// there, set_file_request_handler, mount points, error and pre-routing handlers; for these,
// httplib_handler() makes a handler by itself. A content provider is: each of its calls is a task
// of its own, "GET /export content".
//
// A client that has closed its connection makes a stuck handler's report say "abandoned". The library
// does not tell a handler its socket, but both ends of its connection; only reports look it up.
//
// Thread-safe as far as httplib::Server is. Cost: that of a task, two allocations for the addresses'
// texts, and a call through one more std::function. Tested with cpp-httplib 0.11.4.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <httplib.h>

#include "base/text.h"
#include "leakwatch/adapters/httplib_switches.h"
#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {

namespace detail {

// The task of one activation, with what it works on.
class HttplibTask {
 public:
  HttplibTask(TaskRegistry& registry, TaskLabel label, const httplib::Request& request)
      : peer_(end_of(request.remote_addr, request.remote_port)),
        local_(end_of(request.local_addr, request.local_port)),
        about_{.method = request.method,
               .target = request.target,
               .request_id = request_id(request),
               .peer = peer_,
               .local = local_},
        task_(registry, label, {.now = registry.clock().now(), .request = &about_}) {}

 private:
  static std::string end_of(const std::string& address, int port) {
    return format_host_port({address, static_cast<std::uint16_t>(port)});
  }
  static std::string_view request_id(const httplib::Request& request) {
    const auto field = request.headers.find("X-Request-Id");
    return field == request.headers.end() ? std::string_view() : std::string_view(field->second);
  }

  const std::string peer_;
  const std::string local_;
  const TaskRequest about_;
  const Task task_;
};

// The body is made behind the handler's end, piece by piece: each piece is a task.
inline void provide_in_tasks(TaskRegistry& registry, TaskLabel label, httplib::Response& response) {
  if (!response.content_provider_) return;
  response.content_provider_ = [&registry, label, provider = std::move(response.content_provider_)](
                                   std::size_t offset, std::size_t length,
                                   httplib::DataSink& sink) {
    const Task task(registry, label);
    return provider(offset, length, sink);
  };
}

}  // namespace detail

// `handler` in a task called `name`, for where HttplibServer does not reach. `registry` must outlive
// the server. Interns `name`: for a bounded set of names.
//
//   server.set_file_request_handler(httplib_handler(registry, "files", …));
inline httplib::Server::Handler httplib_handler(TaskRegistry& registry, std::string_view name,
                                                httplib::Server::Handler handler) {
  return [&registry, label = registry.intern(name),
          content = registry.intern(std::string(name) + " content"), handler = std::move(handler)](
             const httplib::Request& request, httplib::Response& response) {
    const detail::HttplibTask task(registry, label, request);
    handler(request, response);
    detail::provide_in_tasks(registry, content, response);
  };
}

// The same for a handler that reads its request's body itself.
inline httplib::Server::HandlerWithContentReader httplib_handler(
    TaskRegistry& registry, std::string_view name,
    httplib::Server::HandlerWithContentReader handler) {
  return [&registry, label = registry.intern(name),
          content = registry.intern(std::string(name) + " content"), handler = std::move(handler)](
             const httplib::Request& request, httplib::Response& response,
             const httplib::ContentReader& reader) {
    const detail::HttplibTask task(registry, label, request);
    handler(request, response, reader);
    detail::provide_in_tasks(registry, content, response);
  };
}

// A server whose handlers are tasks. `Base`: httplib::Server, or a class derived from it.
template <typename Base = httplib::Server>
class HttplibServer : public Base {
 public:
  using Handler = httplib::Server::Handler;
  using HandlerWithContentReader = httplib::Server::HandlerWithContentReader;

  // `arguments`: of Base's constructor. `registry` must outlive the server. Throws std::logic_error
  // in a program compiled without the library's switches (httplib_switches.h).
  template <typename... Arguments>
  explicit HttplibServer(TaskRegistry& registry, Arguments&&... arguments)
      : Base(std::forward<Arguments>(arguments)...), registry_(registry) {
    require_httplib_switches();
  }

  HttplibServer& Get(const std::string& pattern, Handler handler) {
    Base::Get(pattern, in_task("GET ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Post(const std::string& pattern, Handler handler) {
    Base::Post(pattern, in_task("POST ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Post(const std::string& pattern, HandlerWithContentReader handler) {
    Base::Post(pattern, in_task("POST ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Put(const std::string& pattern, Handler handler) {
    Base::Put(pattern, in_task("PUT ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Put(const std::string& pattern, HandlerWithContentReader handler) {
    Base::Put(pattern, in_task("PUT ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Patch(const std::string& pattern, Handler handler) {
    Base::Patch(pattern, in_task("PATCH ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Patch(const std::string& pattern, HandlerWithContentReader handler) {
    Base::Patch(pattern, in_task("PATCH ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Delete(const std::string& pattern, Handler handler) {
    Base::Delete(pattern, in_task("DELETE ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Delete(const std::string& pattern, HandlerWithContentReader handler) {
    Base::Delete(pattern, in_task("DELETE ", pattern, std::move(handler)));
    return *this;
  }
  HttplibServer& Options(const std::string& pattern, Handler handler) {
    Base::Options(pattern, in_task("OPTIONS ", pattern, std::move(handler)));
    return *this;
  }

 private:
  template <typename AnyHandler>
  AnyHandler in_task(const std::string& method, const std::string& pattern, AnyHandler handler) {
    return httplib_handler(registry_, method + pattern, std::move(handler));
  }

  TaskRegistry& registry_;
};

}  // namespace vigil::leakwatch
