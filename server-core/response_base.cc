#include "server-core/response_base.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/request.h"

namespace vigil::http {
namespace {

Error body_too_long() {
  return Error(ErrorCode::kInvalidArgument, "more body than the Content-Length says");
}

}  // namespace

void ResponseBase::begin_base(std::string_view method) {
  phase_ = Phase::kOpen;
  length_.reset();
  headers_.clear();
  trailers_.clear();
  status_ = 200;
  status_set_ = false;
  status_late_ = false;
  body_refused_ = false;
  head_request_ = method == "HEAD";
  close_ = false;
  sniffed_type_ = {};
  written_ = 0;
  body_.clear();
  error_.reset();
}

bool ResponseBase::is_framing_field(std::string_view name) {
  switch (name.size()) {
    case 10:
      return equals_ignoring_case(name, "connection") || equals_ignoring_case(name, "keep-alive");
    case 14:
      return equals_ignoring_case(name, "content-length");
    case 17:
      return equals_ignoring_case(name, "transfer-encoding");
    default:
      return false;
  }
}

Counter ResponseBase::status_counter(int status) {
  return static_cast<Counter>(static_cast<int>(Counter::kStatus0) +
                              (status < 600 ? status / 100 : 0));
}

void ResponseBase::status(int code) {
  if (head_sent()) {
    status_late_ |= code != status_;
    return;
  }
  status_set_ = true;
  if (code < 200 || code > 999) {
    thread_.engine().log.error("invalid status from a handler", {{"status", code}});
    code = 500;
  }
  status_ = code;
}

Result<void> ResponseBase::write(std::string_view bytes) {
  if (error_) return *error_;
  note_unsent(bytes);
  written_ += bytes.size();
  if (phase_ == Phase::kNoBody || (phase_ == Phase::kOpen && no_body())) return {};
  if (phase_ == Phase::kBody && length_ && written_ > *length_) return keep_error(body_too_long());
  if (body_.size() + bytes.size() <= kBufferBytes) {
    body_.append(bytes);
    return {};
  }
  return keep_error(send_buffered(bytes));
}

Result<void> ResponseBase::flush() {
  if (error_) return *error_;
  if (head_sent() && body_.empty()) return {};
  return keep_error(send_buffered({}));
}

Result<void> ResponseBase::set_trailer(std::string_view name, std::string_view value) {
  if (error_) return *error_;
  if (Result<void> ok = check_trailer(name, value); !ok) return ok;
  if (!can_have_trailers()) {
    return Error(ErrorCode::kUnsupported, "this response cannot have trailers");
  }
  trailers_.set(name, value);
  return {};
}

Result<void> ResponseBase::inform(int status, const HeaderMap& fields) {
  if (error_) return *error_;
  if (status <= 101 || status >= 200) {
    return Error(ErrorCode::kInvalidArgument, "an informational status is 102 to 199");
  }
  if (head_sent()) {
    return Error(ErrorCode::kInvalidArgument, "the final response has been begun");
  }
  return keep_error(send_interim(status, fields));
}

Result<void> ResponseBase::keep_error(Result<void> result) {
  if (!result) error_ = result.error();
  return result;
}

bool ResponseBase::reset() {
  if (head_sent()) return false;
  headers_.clear();
  trailers_.clear();
  body_.clear();
  length_.reset();
  status_ = 200;
  written_ = 0;
  error_.reset();
  return true;
}

void ResponseBase::reset_to_error(int code, std::string_view message) {
  (void)reset();
  write_error(*this, code, message);
}

void ResponseBase::abandon() {
  if (head_sent()) {
    error_ = Error(ErrorCode::kClosed, "the handler failed");
  } else {
    reset_to_error(500, {});
  }
}

std::optional<std::uint64_t> ResponseBase::declared_length() {
  const std::optional<std::string_view> text = headers_.get("content-length");
  if (!text) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error == std::errc() && end == text->data() + text->size()) return value;
  thread_.engine().log.error("invalid Content-Length from a handler", {{"value", *text}});
  return std::nullopt;
}

Result<void> ResponseBase::take_declared_length() {
  length_ = declared_length();
  if (length_ && !no_body() && written_ > *length_) return body_too_long();
  return {};
}

void ResponseBase::refuse_length(std::uint64_t declared) {
  thread_.engine().log.error("a handler wrote another length than it declared",
                             {{"declared", declared}, {"written", written_}});
  reset_to_error(500, {});
}

bool ResponseBase::settle_fault(const Request& request) {
  if (head_sent()) {
    note_late_changes(request);
    return !error_;
  }
  if (error_) reset_to_error(500, {});
  if (body_refused_ && untouched()) reset_to_error(413, "the request's body is too long");
  return true;
}

void ResponseBase::report_refused_fields() {
  if (headers_.refused() == 0) return;
  thread_.counters.add(Counter::kHeadersRefused, headers_.refused());
  thread_.engine().log.error("response header with CR, LF, NUL or a bad name dropped",
                             {{"fields", headers_.refused()}});
}

void ResponseBase::note_head() {
  changes_at_head_ = headers_.changes();
  thread_.counters.add(status_counter(status_));
}

void ResponseBase::note_late_changes(const Request& request) {
  if (!status_late_ && headers_.changes() == changes_at_head_) return;
  thread_.counters.add(Counter::kHeadersLate);
  Engine& engine = thread_.engine();
  if (engine.late_headers_logged.exchange(true)) return;
  engine.log.warn("status or header changed after the head was out: ignored, and logged once",
                  {{"method", request.method()}, {"path", request.path()}, {"status", status_}});
}

std::string_view ResponseBase::type_of_body(std::string_view unbuffered) const {
  if (bodyless_status() || headers_.contains("content-type") ||
      !headers_.get("content-encoding").value_or("").empty()) {
    return {};
  }
  if (head_request_) return sniffed_type_;
  std::string_view bytes = body_.empty() ? unbuffered : body_;
  if (bytes.empty()) return {};
  std::array<char, kSniffBytesMax> begin;
  if (!unbuffered.empty() && body_.size() < begin.size() && !body_.empty()) {
    const std::size_t more = std::min(unbuffered.size(), begin.size() - body_.size());
    std::copy_n(body_.data(), body_.size(), begin.data());
    std::copy_n(unbuffered.data(), more, begin.data() + body_.size());
    bytes = {begin.data(), body_.size() + more};
  }
  return detect_content_type(bytes);
}

}  // namespace vigil::http
