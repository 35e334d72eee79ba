// A request's id, the access log, and the logger that a handler gets for its request.
//
//   Handler root = chain(router, {with_request_id(sink), access_log(sink, clock)});
//
//   void charge(ResponseWriter& response, Request& request) {
//     RequestLog log(request, "billing");
//     log.warn("card refused", {{"reason", reason}});     // with request_id and route
//   }
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "server-core/middleware.h"

namespace vigil::http {

// What with_request_id() attaches to a request. Copied by middleware that moves a request to
// another thread.
struct RequestScope {
  std::string id;
  LogSink* sink = nullptr;
};

inline constexpr std::string_view kRequestIdHeader = "X-Request-Id";
inline constexpr std::size_t kRequestIdBytesMax = 128;

// Whether a client's X-Request-Id is taken over: a token (RFC 9110 §5.6.2) of 1 to
// kRequestIdBytesMax characters. Anything else could forge log lines or fill them. Pure.
bool is_request_id(std::string_view text);

// Gives each request an id: the client's X-Request-Id if is_request_id(), else 16 random digits (of
// this middleware) and a number. The response carries it in X-Request-Id. `sink` gets what
// RequestLog writes and must outlive the handler.
// Cost: an allocation for the id and one for the header.
Middleware with_request_id(LogSink& sink);

// The request's id, empty without with_request_id(). Valid until the handler returns.
std::string_view request_id(const Request& request);

// Writes one record for each request, when its handler returns:
//   {"level":"info","source":"access","msg":"request","method":"GET","path":"/orders/7",
//    "route":"GET /orders/{id}","status":200,"duration_us":1234,"bytes":512,
//    "request_id":"…","peer":"127.0.0.1:40312"}
// `path` is as it was sent, without the query, whose values may be secrets, and at most
// kLoggedPathBytesMax long; `bytes` are the body's that the handler wrote. A handler that threw has
// "aborted":true and the status that the client got: 500, or the one that was out already.
// `sink` and `clock` must outlive the handler. Cost: a clock read, and the sink's.
Middleware access_log(LogSink& sink, Clock& clock);
inline constexpr std::size_t kLoggedPathBytesMax = 1024;

// Writes records with the fields of the caller, then `request_id` and `route`. Borrows the request;
// for the thread that runs its handler. Without with_request_id() around the handler there is no
// sink, and nothing is written.
class RequestLog {
 public:
  using Fields = std::initializer_list<LogField>;

  // `source`: the records' source attribute.
  RequestLog(const Request& request, std::string_view source)
      : request_(request), source_(source) {}

  void debug(std::string_view message, Fields fields = {}) const {
    write(LogLevel::kDebug, message, fields);
  }
  void info(std::string_view message, Fields fields = {}) const {
    write(LogLevel::kInfo, message, fields);
  }
  void warn(std::string_view message, Fields fields = {}) const {
    write(LogLevel::kWarn, message, fields);
  }
  void error(std::string_view message, Fields fields = {}) const {
    write(LogLevel::kError, message, fields);
  }

 private:
  void write(LogLevel level, std::string_view message, Fields fields) const;

  const Request& request_;
  std::string_view source_;
};

}  // namespace vigil::http
