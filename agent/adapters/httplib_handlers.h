// Handlers that were written for cpp-httplib, on vigil::http::Server: a service moves to the strict
// engine without touching them.
//
//   before                                      after
//   httplib::Server server;                     vigil::HttplibRoutes server(registry);
//   server.Get("/hi", hi);                      server.Get("/hi", hi);
//   server.Post(R"(/user/(\d+))", user);        server.Post(R"(/user/(\d+))", user);
//   server.listen("0.0.0.0", 8080);             auto engine = http::Server::create(
//                                                   options, server, registry, sink, clock);
//                                               (*engine)->serve();
//
// As there: the first pattern that matches the whole decoded path answers, its groups are in
// `matches`; GET answers HEAD too; a status that nobody set (-1) becomes 200; set_redirect, headers
// of several values, parameters of the query and of a form in `params`; content providers with a
// length, without one, and chunked ones, cut where they return false; their releaser is called once,
// with whether all was written; handlers with a ContentReader get the body as it comes. Each
// activation is a leakwatch::Task named after its pattern ("GET /hi").
//
// Different, because the engine is: requests are checked before a handler sees them (no smuggling, no
// bad heads); deadlines and limits are ServerOptions'; an exception without an exception handler is
// 500 without its text. Not there: files of multipart/form-data (415), ranges (the whole answer,
// which RFC 9110 allows), compression, mount points for files, Keep-Alive settings, set_logger (use
// http::access_log).
//
// Header only; compile with the switches that the installed library was built with (pkg-config
// --cflags cpp-httplib). From 0.11 on (tried: 0.11.4, 0.53.1).
#pragma once

#include <array>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <httplib.h>

#include "leakwatch/adapters/httplib_switches.h"
#include "leakwatch/task_registry.h"
#include "server-core/handler.h"
#include "server-core/handler_profile.h"
#include "server-core/headers.h"
#include "server-core/request.h"
#include "server-core/response_writer.h"

namespace vigil {

namespace httplib_handlers {

inline std::string text(std::string_view view) { return std::string(view); }

inline bool equals(std::string_view a, std::string_view b) {
  return http::equals_ignoring_case(a, b);
}

inline bool begins_with_type(const httplib::Request& request, std::string_view type) {
  return request.get_header_value("Content-Type").rfind(type, 0) == 0;
}

inline void add_params(httplib::Params& into, const http::QueryParams& from) {
  for (const auto& [name, value] : from) into.emplace(name, value);
}

// What a handler gets to see, but for the body.
inline httplib::Request translate(const http::Request& request) {
  httplib::Request translated;
  translated.method = text(request.method());
  translated.path = text(request.path());
  translated.target = text(request.target());
  translated.version = "HTTP/1.1";
  const HostPort peer = request.remote_address();
  translated.remote_addr = peer.host;
  translated.remote_port = peer.port;
  for (const auto& field : request.headers()) {
    translated.headers.emplace(text(field.name), text(field.value));
  }
  // Where the library puts them too, after what a client may have sent under that name.
  translated.headers.erase("REMOTE_ADDR");
  translated.headers.emplace("REMOTE_ADDR", peer.host);
  add_params(translated.params, request.query());
  return translated;
}

// The status for a body that could not be read.
inline int status_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kResourceExhausted:
      return 413;
    case ErrorCode::kDeadlineExceeded:
      return 408;
    default:
      return 400;
  }
}

// A response's content provider, asked until it has given all or does not want to go on.
class Provided {
 public:
  Provided(const httplib::Response& response, http::ResponseWriter& writer)
      : response_(response), writer_(writer) {
    sink_.write = [this](const char* data, std::size_t size) {
      alive_ = alive_ && writer_.write({data, size}).ok() && writer_.flush().ok();
      offset_ += size;
      return alive_;
    };
    sink_.done = [this] { done_ = true; };
    sink_.is_writable = [this] { return alive_; };
  }

  // Whether all of it has been written.
  bool write_all() {
    while (alive_ && !complete()) {
      const std::size_t left = sized() ? response_.content_length_ - offset_ : 0;
      if (!response_.content_provider_(offset_, left, sink_)) return false;
    }
    return alive_;
  }

 private:
  bool sized() const {
    return !response_.is_chunked_content_provider_ && response_.content_length_ > 0;
  }
  bool complete() const { return sized() ? offset_ >= response_.content_length_ : done_; }

  const httplib::Response& response_;
  http::ResponseWriter& writer_;
  httplib::DataSink sink_;
  std::size_t offset_ = 0;
  bool done_ = false;
  bool alive_ = true;
};

}  // namespace httplib_handlers

// Thread-safe once it serves; routes and hooks are added before. A handle: copies share the routes,
// so it converts to an http::Handler. Patterns that std::regex refuses throw std::regex_error, as in
// cpp-httplib.
class HttplibRoutes {
 public:
  using Handler = httplib::Server::Handler;
  using HandlerWithContentReader = httplib::Server::HandlerWithContentReader;
  using HandlerWithResponse = httplib::Server::HandlerWithResponse;
  using ExceptionHandler = httplib::Server::ExceptionHandler;

  // `registry` gets a task for each activation and must outlive the routes. Throws std::logic_error in
  // a program compiled without the library's switches (leakwatch/adapters/httplib_switches.h).
  explicit HttplibRoutes(leakwatch::TaskRegistry& registry)
      : shared_(std::make_shared<Shared>(registry)) {
    leakwatch::require_httplib_switches();
  }

  HttplibRoutes& Get(const std::string& pattern, Handler handler) {
    return add("GET", pattern, std::move(handler), nullptr);
  }
  HttplibRoutes& Post(const std::string& pattern, Handler handler) {
    return add("POST", pattern, std::move(handler), nullptr);
  }
  HttplibRoutes& Post(const std::string& pattern, HandlerWithContentReader handler) {
    return add("POST", pattern, nullptr, std::move(handler));
  }
  HttplibRoutes& Put(const std::string& pattern, Handler handler) {
    return add("PUT", pattern, std::move(handler), nullptr);
  }
  HttplibRoutes& Put(const std::string& pattern, HandlerWithContentReader handler) {
    return add("PUT", pattern, nullptr, std::move(handler));
  }
  HttplibRoutes& Patch(const std::string& pattern, Handler handler) {
    return add("PATCH", pattern, std::move(handler), nullptr);
  }
  HttplibRoutes& Patch(const std::string& pattern, HandlerWithContentReader handler) {
    return add("PATCH", pattern, nullptr, std::move(handler));
  }
  HttplibRoutes& Delete(const std::string& pattern, Handler handler) {
    return add("DELETE", pattern, std::move(handler), nullptr);
  }
  HttplibRoutes& Options(const std::string& pattern, Handler handler) {
    return add("OPTIONS", pattern, std::move(handler), nullptr);
  }

  // As in cpp-httplib: before routing (Handled: it has answered), behind each handler, and for
  // responses with a status of 400 and more whose body is empty.
  HttplibRoutes& set_pre_routing_handler(HandlerWithResponse handler) {
    shared_->pre_routing = std::move(handler);
    return *this;
  }
  HttplibRoutes& set_post_routing_handler(Handler handler) {
    shared_->post_routing = std::move(handler);
    return *this;
  }
  HttplibRoutes& set_error_handler(Handler handler) {
    shared_->error = std::move(handler);
    return *this;
  }
  HttplibRoutes& set_exception_handler(ExceptionHandler handler) {
    shared_->exception = std::move(handler);
    return *this;
  }
  // Set on every response, before the handler's own.
  HttplibRoutes& set_default_headers(httplib::Headers headers) {
    shared_->default_headers = std::move(headers);
    return *this;
  }
  // Of a body that is collected for its handler; ServerOptions::max_body_bytes holds too.
  HttplibRoutes& set_payload_max_length(std::size_t bytes) {
    shared_->payload_max = bytes;
    return *this;
  }

  // What http::Server runs.
  void operator()(http::ResponseWriter& writer, http::Request& request) const {
    httplib::Request translated = httplib_handlers::translate(request);
    httplib::Response response;
    response.version = translated.version;
    response.headers = shared_->default_headers;
    if (!shared_->pre_routing ||
        shared_->pre_routing(translated, response) != httplib::Server::HandlerResponse::Handled) {
      if (!dispatch(writer, request, translated, response)) return;
    }
    finish(writer, request, translated, response);
  }

 private:
  struct Route {
    std::string method;
    std::regex pattern;
    leakwatch::TaskLabel label;
    Handler handler;
    HandlerWithContentReader reading_handler;
    http::HandlerProfile profile;
  };

  struct Shared {
    explicit Shared(leakwatch::TaskRegistry& tasks) : registry(tasks) {}
    leakwatch::TaskRegistry& registry;
    std::vector<std::unique_ptr<Route>> routes;
    HandlerWithResponse pre_routing;
    Handler post_routing;
    Handler error;
    ExceptionHandler exception;
    httplib::Headers default_headers;
    std::size_t payload_max = 64 * 1024 * 1024;
  };

  HttplibRoutes& add(const char* method, const std::string& pattern, Handler handler,
                     HandlerWithContentReader reading_handler) {
    const leakwatch::TaskLabel label =
        shared_->registry.intern(std::string(method) + " " + pattern);
    auto route = std::unique_ptr<Route>(new Route{
        method, std::regex(pattern), label, std::move(handler), std::move(reading_handler), {}});
    shared_->routes.push_back(std::move(route));
    return *this;
  }

  Route* find(httplib::Request& request) const {
    const std::string_view asked = request.method;
    const std::string_view method = asked == "HEAD" ? "GET" : asked;
    for (const auto& route : shared_->routes) {
      if (route->method == method &&
          std::regex_match(request.path, request.matches, route->pattern)) {
        return route.get();
      }
    }
    return nullptr;
  }

  // Runs the route's handler. false: there is no thread for it, and that has been answered.
  bool dispatch(http::ResponseWriter& writer, http::Request& request, httplib::Request& translated,
                httplib::Response& response) const {
    Route* route = find(translated);
    if (route == nullptr) {
      response.status = 404;
      return true;
    }
    request.set_route(route->label.text());
    const leakwatch::TaskRequest about{.method = request.method(),
                                       .target = request.target(),
                                       .request_id = {},
                                       .peer = {},
                                       .descriptor = request.descriptor()};
    const leakwatch::Task task(shared_->registry, route->label,
                               {.now = request.start_time(), .request = &about});
    if (request.enter_route(route->profile, task.id()) == http::RouteAdmission::kBusy) {
      writer.headers().set("Retry-After", "1");
      http::write_error(writer, 503, "no thread is free");
      return false;
    }
    call(*route, request, translated, response);
    if (response.content_provider_ && response.status < 400) {
      // Inside the task: it is the handler's work that goes on.
      finish(writer, request, translated, response);
      return false;
    }
    return true;
  }

  void call(Route& route, http::Request& request, httplib::Request& translated,
            httplib::Response& response) const {
    try {
      if (route.reading_handler) {
        route.reading_handler(translated, response, content_reader(request, response));
      } else if (collect_body(request, translated, response)) {
        route.handler(translated, response);
      }
    } catch (const std::exception&) {
      if (!shared_->exception) throw;
      shared_->exception(translated, response, std::current_exception());
    }
    if (response.status == -1) response.status = 200;
  }

  // false: the response's status says why not.
  bool collect_body(http::Request& request, httplib::Request& translated,
                    httplib::Response& response) const {
    if (httplib_handlers::begins_with_type(translated, "multipart/form-data")) {
      response.status = 415;
      return false;
    }
    Result<std::string> body = request.read_all(shared_->payload_max);
    if (!body) {
      response.status = httplib_handlers::status_of(body.error());
      return false;
    }
    translated.body = *std::move(body);
    if (httplib_handlers::begins_with_type(translated, "application/x-www-form-urlencoded")) {
      httplib_handlers::add_params(translated.params, http::QueryParams::parse(translated.body));
    }
    return true;
  }

  static httplib::ContentReader content_reader(http::Request& request,
                                               httplib::Response& response) {
    return {[&request, &response](httplib::ContentReceiver receiver) {
              std::array<char, 16 * 1024> bytes;
              while (true) {
                const Result<std::size_t> got = request.read(bytes);
                if (!got) {
                  response.status = httplib_handlers::status_of(got.error());
                  return false;
                }
                if (*got == 0) return true;
                if (!receiver(bytes.data(), *got)) return false;
              }
            },
            [&response](const auto&, const auto&) {  // its types have other names in newer versions
              response.status = 415;
              return false;
            }};
  }

  void finish(http::ResponseWriter& writer, const http::Request& request,
              httplib::Request& translated, httplib::Response& response) const {
    if (response.status == -1) response.status = 200;
    if (response.status >= 400 && response.body.empty() && shared_->error) {
      shared_->error(translated, response);
    }
    if (shared_->post_routing) shared_->post_routing(translated, response);
    writer.status(response.status);
    for (const auto& [name, value] : response.headers) {
      // The framing is the engine's.
      if (httplib_handlers::equals(name, "Content-Length") ||
          httplib_handlers::equals(name, "Transfer-Encoding")) {
        continue;
      }
      writer.headers().add(name, value);
    }
    if (response.content_provider_) return write_provided(writer, request, response);
    // A client that is gone is no error of the handler's.
    (void)writer.write(response.body);
  }

  static void write_provided(http::ResponseWriter& writer, const http::Request& request,
                             httplib::Response& response) {
    if (!response.is_chunked_content_provider_ && response.content_length_ > 0) {
      writer.headers().set("Content-Length", std::to_string(response.content_length_));
    }
    if (request.method() == "HEAD") return;
    httplib_handlers::Provided provided(response, writer);
    // The releaser is called by the response's destructor, with this.
    response.content_provider_success_ = provided.write_all();
    // Cut, so that the client does not take a part for the whole.
    if (!response.content_provider_success_) throw http::AbortHandler{};
  }

  std::shared_ptr<Shared> shared_;
};

}  // namespace vigil
