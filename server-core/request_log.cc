#include "server-core/request_log.h"

#include <atomic>
#include <exception>
#include <memory>
#include <random>
#include <vector>

#include <fmt/core.h>

#include "base/text.h"
#include "server-core/headers.h"

namespace vigil::http {
namespace {

// Unique among processes by the random part, inside one by the number. Nobody may take it for a
// secret: whoever sees one can guess the next.
class RequestIds {
 public:
  RequestIds() {
    std::random_device random;
    prefix_ = fmt::format("{:08x}{:08x}", random(), random());
  }
  std::string next() {
    return fmt::format("{}-{:x}", prefix_, number_.fetch_add(1, std::memory_order_relaxed));
  }

 private:
  std::string prefix_;
  std::atomic<std::uint64_t> number_{1};
};

std::string id_for(const Request& request, RequestIds& ids) {
  const auto given = request.header(kRequestIdHeader);
  return given && is_request_id(*given) ? std::string(*given) : ids.next();
}

// Takes its scope off the request again, however the handler ends.
class ScopeGuard {
 public:
  ScopeGuard(Request& request, const RequestScope& scope)
      : request_(request), outer_(request.scope()) {
    request.set_scope(&scope);
  }
  ~ScopeGuard() { request_.set_scope(outer_); }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Request& request_;
  const RequestScope* outer_;
};

// Writes the access record when the handler ends, also by an exception: one that passes here has
// not been answered yet, and the engine will.
class AccessRecord {
 public:
  AccessRecord(const Logger& log, Clock& clock, const ResponseWriter& response,
               const Request& request)
      : log_(log),
        clock_(clock),
        response_(response),
        request_(request),
        exceptions_(std::uncaught_exceptions()) {}
  ~AccessRecord() {
    try {
      write();
    } catch (const std::bad_alloc&) {
      // A destructor must not throw, and a log line is not worth the request.
    }
  }
  AccessRecord(const AccessRecord&) = delete;
  AccessRecord& operator=(const AccessRecord&) = delete;

 private:
  void write() const {
    const bool aborted = std::uncaught_exceptions() > exceptions_;
    const bool replaced = aborted && !response_.head_sent();
    const auto took = clock_.now() - request_.start_time();
    const std::string peer = format_host_port(request_.remote_address());
    std::vector<LogField> fields = {
        {"method", request_.method()},
        {"path", request_.raw_path().substr(0, kLoggedPathBytesMax)},
        {"route", request_.route()},
        {"status", replaced ? 500 : response_.status_code()},
        {"duration_us", std::chrono::duration_cast<std::chrono::microseconds>(took).count()},
        {"bytes", replaced ? std::uint64_t{0} : response_.body_bytes()},
        {"request_id", request_id(request_)},
        {"peer", peer}};
    if (aborted) fields.emplace_back("aborted", true);
    log_.write(LogLevel::kInfo, "request", fields);
  }

  const Logger& log_;
  Clock& clock_;
  const ResponseWriter& response_;
  const Request& request_;
  const int exceptions_;
};

}  // namespace

bool is_request_id(std::string_view text) {
  return text.size() <= kRequestIdBytesMax && is_header_name(text);
}

std::string_view request_id(const Request& request) {
  return request.scope() == nullptr ? std::string_view() : request.scope()->id;
}

Middleware with_request_id(LogSink& sink) {
  const auto ids = std::make_shared<RequestIds>();
  return [&sink, ids](Handler next) -> Handler {
    return [&sink, ids, next = std::move(next)](ResponseWriter& response, Request& request) {
      const RequestScope scope{id_for(request, *ids), &sink};
      const ScopeGuard guard(request, scope);
      response.headers().set(kRequestIdHeader, scope.id);
      next(response, request);
    };
  };
}

Middleware access_log(LogSink& sink, Clock& clock) {
  return [log = Logger(sink, "access"), &clock](Handler next) -> Handler {
    return [log, &clock, next = std::move(next)](ResponseWriter& response, Request& request) {
      const AccessRecord record(log, clock, response, request);
      next(response, request);
    };
  };
}

void RequestLog::write(LogLevel level, std::string_view message, Fields fields) const {
  const RequestScope* scope = request_.scope();
  if (scope == nullptr) return;
  std::vector<LogField> all(fields);
  all.emplace_back("request_id", scope->id);
  all.emplace_back("route", request_.route());
  Logger(*scope->sink, source_).write(level, message, all);
}

}  // namespace vigil::http
