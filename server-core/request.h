// Request: what a handler is given about the request that it answers.
//
//   void get_order(ResponseWriter& response, Request& request) {
//     std::string_view id = request.path_value("id").value_or("");
//     std::string_view verbose = request.query("verbose").value_or("0");
//     Result<std::string> body = request.read_all(1 << 20);
//     …
//   }
//
// Every view that a Request gives is valid until the handler returns, and no longer.
// Not thread-safe: one request belongs to the thread that runs its handler. The stop token may be
// given away.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "base/text.h"
#include "server-core/context.h"
#include "server-core/handler_profile.h"
#include "server-core/headers.h"
#include "server-core/url.h"

namespace vigil::leakwatch {
enum class TaskId : std::uint64_t;
}

namespace vigil::http {

struct RequestScope;
struct TlsInfo;

enum class HttpVersion : std::uint8_t { kHttp10, kHttp11, kHttp2 };

// "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0".
std::string_view http_version_name(HttpVersion version);

enum class RouteAdmission : std::uint8_t {
  kRun,   // the handler may run, and may block
  kBusy,  // no thread for it: answer 503
};

// What the transport below a request does for it. The engine implements it for a connection, tests
// for a fixed body.
class RequestTransport {
 public:
  virtual ~RequestTransport() = default;

  // The contract of Request::read().
  virtual Result<std::size_t> read_body(std::span<char> into) = 0;
  // The trailer section; empty until the body has been read to its end.
  virtual const HeaderMap& trailers() const = 0;
  virtual HostPort remote_address() const = 0;
  // The client's socket, open until the handler has returned; -1 for a transport without one.
  virtual int descriptor() const noexcept { return -1; }
  // nullptr without TLS.
  virtual std::shared_ptr<const TlsInfo> tls() const { return nullptr; }
  virtual std::stop_token stop_token() = 0;
  virtual MonotonicTime write_deadline() const = 0;
  // When the body must have been read.
  virtual MonotonicTime read_deadline() const = 0;
  // What the request's own context is; by default one without values or a timer.
  virtual Context context() {
    return Context().for_request(write_deadline(), stop_token(), nullptr);
  }
  // The request has refused the rest of its body as too long: close the connection behind the
  // response, and if the handler answers nothing, answer 413.
  virtual void refuse_body() {}

  // The router has found the handler; `task` is its activation in the task registry. A transport
  // that polls on the calling thread hands polling over before it returns, unless the profile says
  // that the handler is short. kBusy: no thread is free for a handler that may block; it must not
  // run. The profile must outlive the server.
  virtual RouteAdmission enter_route(HandlerProfile& profile, leakwatch::TaskId task) = 0;
};

class Request {
 public:
  // The parts of a head that has been checked; all borrowed.
  struct Head {
    std::string_view method = "GET";
    std::string_view target = "/";
    HttpVersion version = HttpVersion::kHttp11;
    HeaderList headers;
    // A body follows that no field announces: HTTP/2, without a Content-Length.
    bool body_unannounced = false;
  };
  // What form() reads unless it is told otherwise.
  static constexpr std::size_t kFormBytesMax = 1024 * 1024;
  // As many as a pattern can have (Router refuses more).
  static constexpr std::size_t kPathValuesMax = 8;

  // An empty request, to be filled by reset(). An engine thread reuses one object for all its
  // requests.
  Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // Makes this the request `head`, begun at `start_time`. false, and nothing else may be called, if
  // the target cannot be split or decoded, or its authority is not a valid host.
  [[nodiscard]] bool reset(const Head& head, RequestTransport& transport, MonotonicTime start_time);

  std::string_view method() const { return head_.method; }
  // The target as it was sent.
  std::string_view target() const { return head_.target; }
  // The path, percent-decoded once. Begins with "/" ("*" for OPTIONS *).
  std::string_view path() const { return path_; }
  // The path as it was sent.
  std::string_view raw_path() const { return target_.raw_path; }
  // What follows "?", as it was sent.
  std::string_view raw_query() const { return target_.raw_query; }
  // The decoded query, parsed at the first call.
  const QueryParams& query() const;
  // The first value of that name in the query.
  std::optional<std::string_view> query(std::string_view name) const { return query().get(name); }

  // What a wildcard of the matched pattern stands for, decoded once.
  std::optional<std::string_view> path_value(std::string_view name) const;

  const HeaderList& headers() const { return head_.headers; }
  std::optional<std::string_view> header(std::string_view name) const {
    return head_.headers.get(name);
  }
  // The authority that the client asked for, as sent, with its port if any: of an absolute-form
  // target if there is one, else of the Host field; empty only in HTTP/1.0.
  std::string_view host() const { return host_; }
  HttpVersion version() const { return head_.version; }
  // Head::body_unannounced.
  bool body_unannounced() const { return head_.body_unannounced; }

  // The pattern of the route that has been found ("GET /orders/{id}"); empty before, and where
  // there is no router. Lives as long as the process.
  std::string_view route() const { return route_; }

  // What middleware has attached for those inside it (request_log.h); null without.
  const RequestScope* scope() const { return scope_; }
  void set_scope(const RequestScope* scope) { scope_ = scope; }

  // The socket's peer. No header changes it (P1.27).
  HostPort remote_address() const { return transport_->remote_address(); }
  // The client's socket, for reports about the connection; -1 where there is none. Never read from
  // it or write to it.
  int descriptor() const noexcept { return transport_->descriptor(); }

  // What TLS has agreed upon with the client, its verified certificate among it (tls.h); nullptr
  // without TLS. Allocates at a connection's first call.
  std::shared_ptr<const TlsInfo> tls() const { return transport_->tls(); }

  // When the handler was about to run.
  MonotonicTime start_time() const { return start_time_; }
  // When the last byte of the response must be out; kNoDeadline if there is no write deadline.
  MonotonicTime deadline() const { return transport_->write_deadline(); }

  // When the last byte of the request must have been read; kNoDeadline if there is no read
  // deadline.
  MonotonicTime read_deadline() const { return transport_->read_deadline(); }

  // Deadline, stop token and typed values of the work for this request (context.h): the server's
  // base context, the connection's, or what middleware has put in its place. Ask once and keep the
  // result.
  Context context() const { return replaced_context_ ? *replaced_context_ : transport_->context(); }

  // Reads the next bytes of the body, at least one; 0 is its end. Blocks, until the read deadline.
  //   deadline_exceeded    the read deadline passed
  //   closed               the client went away, or the server is forced down: what was read is not
  //                        the whole body
  //   invalid_argument     the body's chunks are malformed
  //   resource_exhausted   the body is longer than the server's max_body_bytes
  // body_error_status() (response_writer.h) has the status that answers each.
  // After an error every call gives it again, and the connection is closed after the response. If a
  // head with a status below 400 is out by then, the response is cut instead (P1.21).
  Result<std::size_t> read(std::span<char> into);

  // Lets this request's body have `bytes_max` bytes at most, counted from now on; of several limits
  // the lowest holds (Go's MaxBytesReader). For a handler that wants less than the server's
  // max_body_bytes, or middleware around it. Beyond the limit read() gives resource_exhausted, at
  // once if the body's announced length is more: then a client that expects a 100 is not asked for
  // the body. The connection is closed behind the response, and if
  // the handler returns without having answered anything, the answer is 413.
  void limit_body(std::uint64_t bytes_max);

  // The rest of the body, if it has at most `max_bytes`; resource_exhausted if it has more, else
  // read()'s errors.
  Result<std::string> read_all(std::size_t max_bytes);

  // The fields of a form that the client has sent as the body (application/x-www-form-urlencoded),
  // read and decoded at the first call; later calls give the same result. Empty for a method other
  // than POST, PUT or PATCH, and for an empty body. The query is not mixed in. Fields with a broken
  // escape are left out and counted, as in the query.
  //   unsupported          the Content-Type is another, or missing (415)
  //   resource_exhausted   the body is longer than `max_bytes`, or than another limit (413)
  //   deadline_exceeded, closed, invalid_argument   as read()
  Result<const QueryParams*> form(std::size_t max_bytes = kFormBytesMax);

  // What came behind the last chunk, never merged into headers() (P1.14). Empty until read() has
  // returned 0.
  const HeaderMap& trailers() const { return transport_->trailers(); }

  // Stopped when the client goes away, when the server is forced down, and when the handler
  // returns; also when context() is, if middleware has replaced that. As in Go, a client that
  // closes only its sending side counts as gone; its response is still written. Allocates at the
  // first call.
  std::stop_token stop_token() const {
    return replaced_context_ ? replaced_context_->stop_token() : transport_->stop_token();
  }

  // For Router. `pattern` must live as long as the process.
  void set_route(std::string_view pattern) { route_ = pattern; }
  // Makes this, a copy of `other` with a head of its own, know what the router has found for
  // `other`, and see the same path.
  void take_route_of(const Request& other);
  void add_path_value(std::string_view name, std::string_view raw_value);
  void clear_path_values() { path_values_count_ = 0; }
  RouteAdmission enter_route(HandlerProfile& profile, leakwatch::TaskId task) {
    return transport_->enter_route(profile, task);
  }

 private:
  friend class ContextScope;
  friend class PathScope;

  struct PathValue {
    std::string_view name;
    std::string_view value;
    std::string decoded;  // used only if the segment had an escape
  };

  Result<std::size_t> read_limited(std::span<char> into);
  Error refuse_body();
  bool announces_body() const;
  Result<QueryParams> parse_form(std::size_t max_bytes);

  Head head_;
  RequestTransport* transport_ = nullptr;
  MonotonicTime start_time_{};
  Target target_;
  std::string_view path_;
  std::string_view host_;
  std::string_view route_;
  const RequestScope* scope_ = nullptr;
  std::string decoded_path_;
  mutable std::optional<QueryParams> query_;
  std::optional<Result<QueryParams>> form_;
  std::optional<Context> replaced_context_;
  std::uint64_t body_bytes_read_ = 0;
  std::optional<std::uint64_t> body_bytes_max_;  // the limit, as a count from the body's first byte
  std::optional<Error> body_refused_;
  std::array<PathValue, kPathValuesMax> path_values_;
  std::size_t path_values_count_ = 0;
};

// Puts another context in the place of the request's own, as long as this object lives: how
// middleware gives the inner handler a value or a shorter deadline. Scopes nest.
//
//   const ContextScope scope(request, request.context().with_deadline(clock.now() + 2s));
//   next(response, request);
class ContextScope {
 public:
  ContextScope(Request& request, Context context)
      : request_(request),
        previous_(std::exchange(request.replaced_context_, std::move(context))) {}
  ~ContextScope() { request_.replaced_context_.swap(previous_); }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  Request& request_;
  std::optional<Context> previous_;
};

// Takes `prefix` off the path that the handlers inside see, as long as this object lives: path()
// and raw_path(). target() stays what the client sent. For strip_prefix() (mount.h).
class PathScope {
 public:
  // `prefix` must be one of request.raw_path() and request.path(), and what is left of both must
  // begin with "/".
  PathScope(Request& request, std::string_view prefix)
      : request_(request), path_(request.path_), raw_path_(request.target_.raw_path) {
    request_.path_.remove_prefix(prefix.size());
    request_.target_.raw_path.remove_prefix(prefix.size());
  }
  ~PathScope() {
    request_.path_ = path_;
    request_.target_.raw_path = raw_path_;
  }
  PathScope(const PathScope&) = delete;
  PathScope& operator=(const PathScope&) = delete;

 private:
  Request& request_;
  const std::string_view path_;
  const std::string_view raw_path_;
};

}  // namespace vigil::http
