#include "server-core/response_stream.h"

#include <sys/uio.h>

#include <array>
#include <charconv>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/exchange.h"

namespace vigil::http {
namespace {

iovec part(std::string_view bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size()};  // NOLINT: sendmsg does not write
}

void append_number(std::string& out, std::uint64_t value, int base = 10) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, base);
  out.append(digits.data(), end.ptr);
}

// Fields that are the server's business.
bool is_framing_field(std::string_view name) {
  switch (name.size()) {
    case 4:
      return equals_ignoring_case(name, "date");
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

Counter status_counter(int status) {
  return static_cast<Counter>(static_cast<int>(Counter::kStatus0) +
                              (status < 600 ? status / 100 : 0));
}

}  // namespace

void ResponseStream::begin(std::string_view method, HttpVersion version, bool client_keeps_alive) {
  headers_.clear();
  status_ = 200;
  mode_ = Mode::kOpen;
  head_request_ = method == "HEAD";
  http10_ = version == HttpVersion::kHttp10;
  client_keeps_alive_ = client_keeps_alive;
  close_ = !client_keeps_alive;
  length_ = 0;
  written_ = 0;
  head_.clear();
  body_.clear();
  error_.reset();
}

void ResponseStream::status(int code) {
  if (head_sent()) return;
  if (code < 200 || code > 999) {
    exchange_.thread().engine().log.error("invalid status from a handler", {{"status", code}});
    code = 500;
  }
  status_ = code;
}

Result<void> ResponseStream::fail(Error error) {
  error_ = std::move(error);
  return *error_;
}

Result<void> ResponseStream::write(std::string_view bytes) {
  if (error_) return *error_;
  written_ += bytes.size();
  if (mode_ == Mode::kNoBody || (mode_ == Mode::kOpen && (head_request_ || bodyless_status()))) {
    return {};
  }
  if (mode_ == Mode::kLength && written_ > length_) {
    return fail(Error(ErrorCode::kInvalidArgument, "more body than the Content-Length says"));
  }
  if (body_.size() + bytes.size() <= kBufferBytes) {
    body_.append(bytes);
    return {};
  }
  return send_buffered(bytes);
}

Result<void> ResponseStream::flush() {
  if (error_) return *error_;
  if (head_sent() && body_.empty()) return {};
  return send_buffered({});
}

void ResponseStream::set_write_deadline(MonotonicTime deadline) {
  exchange_.set_write_deadline(deadline);
}
void ResponseStream::set_read_deadline(MonotonicTime deadline) {
  exchange_.set_read_deadline(deadline);
}

bool ResponseStream::reset() {
  if (head_sent()) return false;
  headers_.clear();
  body_.clear();
  status_ = 200;
  written_ = 0;
  error_.reset();
  return true;
}

void ResponseStream::reset_to_error(int code, std::string_view message) {
  (void)reset();
  write_error(*this, code, message);
}

void ResponseStream::abandon() {
  if (head_sent()) {
    error_ = Error(ErrorCode::kClosed, "the handler failed");
  } else {
    reset_to_error(500, {});
  }
}

// The Content-Length that the handler has set, if it is a number.
std::optional<std::uint64_t> ResponseStream::declared_length() {
  const std::optional<std::string_view> text = headers_.get("content-length");
  if (!text) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error == std::errc() && end == text->data() + text->size()) return value;
  exchange_.thread().engine().log.error("invalid Content-Length from a handler",
                                        {{"value", *text}});
  return std::nullopt;
}

// The handler has returned, and everything it wrote is in the buffer.
void ResponseStream::choose_mode_for_end() {
  const std::optional<std::uint64_t> declared = declared_length();
  if (bodyless_status()) {
    mode_ = Mode::kNoBody;
    return;
  }
  if (!head_request_ && declared && *declared != written_) {
    exchange_.thread().engine().log.error("a handler wrote another length than it declared",
                                          {{"declared", *declared}, {"written", written_}});
    reset_to_error(500, {});
  }
  mode_ = head_request_ ? Mode::kNoBody : Mode::kLength;
  length_ = head_request_ && declared ? *declared : written_;
}

// The head must go out before the body's end is known.
void ResponseStream::choose_mode_for_stream() {
  const std::optional<std::uint64_t> declared = declared_length();
  length_ = declared.value_or(0);
  if (head_request_ || bodyless_status()) {
    mode_ = Mode::kNoBody;
  } else if (declared) {
    mode_ = Mode::kLength;
  } else if (http10_) {
    mode_ = Mode::kUntilClose;
    close_ = true;
  } else {
    mode_ = Mode::kChunked;
  }
}

void ResponseStream::append_fields() {
  for (std::size_t i = 0; i < headers_.size(); ++i) {
    const HeaderField field = headers_.at(i);
    if (is_framing_field(field.name)) {
      if (equals_ignoring_case(field.name, "connection") && list_has_token(field.value, "close")) {
        close_ = true;
      }
      continue;
    }
    head_.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  if (headers_.refused() == 0) return;
  exchange_.thread().counters.add(Counter::kHeadersRefused, headers_.refused());
  exchange_.thread().engine().log.error("response header with CR, LF, NUL or a bad name dropped",
                                        {{"fields", headers_.refused()}});
}

void ResponseStream::compose_head() {
  EngineThread& thread = exchange_.thread();
  Engine& engine = thread.engine();
  if (exchange_.continue_pending() || engine.closes_idle()) close_ = true;
  head_.append(http10_ ? "HTTP/1.0 " : "HTTP/1.1 ");
  append_number(head_, static_cast<std::uint64_t>(status_));
  head_.append(" ").append(status_reason(status_)).append("\r\nDate: ");
  head_.append(thread.date.get(engine.clock, thread.now())).append("\r\n");
  append_fields();
  if (mode_ == Mode::kChunked) {
    head_.append("Transfer-Encoding: chunked\r\n");
  } else if (mode_ == Mode::kLength ||
             (mode_ == Mode::kNoBody && !bodyless_status() && length_ > 0)) {
    head_.append("Content-Length: ");
    append_number(head_, length_);
    head_.append("\r\n");
  }
  if (close_) {
    head_.append("Connection: close\r\n");
  } else if (http10_) {
    head_.append("Connection: keep-alive\r\n");
  }
  head_.append("\r\n");
  thread.counters.add(status_counter(status_));
}

Result<void> ResponseStream::send_buffered(std::string_view more) {
  if (mode_ == Mode::kOpen) {
    choose_mode_for_stream();
    compose_head();
    if (mode_ == Mode::kLength && written_ > length_) {
      return fail(Error(ErrorCode::kInvalidArgument, "more body than the Content-Length says"));
    }
  }
  std::array<iovec, 4> parts;
  std::size_t count = 0;
  const std::size_t size = body_.size() + more.size();
  const bool chunked = mode_ == Mode::kChunked && size > 0;
  if (chunked) {
    append_number(head_, size, 16);
    head_.append("\r\n");
  }
  if (!head_.empty()) parts[count++] = part(head_);
  if (!body_.empty()) parts[count++] = part(body_);
  if (!more.empty()) parts[count++] = part(more);
  if (chunked) parts[count++] = part("\r\n");
  if (count == 0) return {};
  Result<void> sent = exchange_.send_all(std::span(parts).first(count));
  head_.clear();
  body_.clear();
  if (!sent) return fail(std::move(sent).error());
  return {};
}

ResponseStream::End ResponseStream::finish() {
  if (error_ && head_sent()) return End::kCut;
  if (error_) reset_to_error(500, {});
  if (mode_ == Mode::kOpen) {
    choose_mode_for_end();
    compose_head();
  } else if (mode_ == Mode::kChunked) {
    if (!body_.empty()) {
      append_number(head_, body_.size(), 16);
      head_.append("\r\n");
      body_.append("\r\n");
    }
    body_.append("0\r\n\r\n");
  } else if (mode_ == Mode::kLength && written_ != length_) {
    return End::kCut;  // the client must not take what it got for the whole
  }
  // A small body is cheaper to copy than to send as a part of its own.
  constexpr std::size_t kCopyMax = 4096;
  if (body_.size() <= kCopyMax) {
    head_.append(body_);
    body_.clear();
  }
  std::array<iovec, 2> parts = {part(head_), part(body_)};
  std::span<iovec> left = std::span(parts).first(body_.empty() ? 1 : 2);
  if (!exchange_.send_some(left)) return End::kCut;
  if (left.empty()) return End::kSent;
  std::string& output = exchange_.connection().output;
  for (const iovec& rest : left)
    output.append(static_cast<const char*>(rest.iov_base), rest.iov_len);
  return End::kWaits;
}

}  // namespace vigil::http
