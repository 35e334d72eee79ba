#include "server-core/response_stream.h"

#include <sys/uio.h>

#include <algorithm>
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

}  // namespace

ResponseStream::ResponseStream(Exchange& exchange)
    : ResponseBase(exchange.thread()), exchange_(exchange) {}

void ResponseStream::begin(std::string_view method, HttpVersion version, bool client_keeps_alive) {
  begin_base(method);
  http10_ = version == HttpVersion::kHttp10;
  client_keeps_alive_ = client_keeps_alive;
  close_ = !client_keeps_alive;
  chunked_ = false;
  head_.clear();
}

void ResponseStream::set_write_deadline(MonotonicTime deadline) {
  exchange_.move_write_deadline(deadline);
}
void ResponseStream::set_read_deadline(MonotonicTime deadline) {
  exchange_.set_read_deadline(deadline);
}

Result<void> ResponseStream::send_interim(int status, const HeaderMap& fields) {
  if (http10_) return {};
  std::string head = "HTTP/1.1 ";
  append_number(head, static_cast<std::uint64_t>(status));
  head.append(" ").append(status_reason(status)).append("\r\n");
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const HeaderField field = fields.at(i);
    if (is_framing_field(field.name)) continue;
    head.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  head.append("\r\n");
  iovec all = part(head);
  thread_.counters.add(Counter::kStatus1xx);
  return exchange_.send_all(std::span(&all, 1));
}

Result<HijackedConnection> ResponseStream::hijack() {
  if (error_) return *error_;
  if (head_sent() || written_ > 0) {
    return Error(ErrorCode::kInvalidArgument, "a response has been begun");
  }
  Result<HijackedConnection> hijacked = exchange_.hijack();
  if (hijacked) error_ = Error(ErrorCode::kClosed, "the connection has been hijacked");
  return hijacked;
}

// The handler has returned, and everything it wrote is in the buffer.
void ResponseStream::choose_framing_for_end() {
  const std::optional<std::uint64_t> declared = length_of_whole();
  if (no_body()) {
    phase_ = Phase::kNoBody;
    // HEAD: GET's length, which its handler may have told or written.
    if (!bodyless_status()) length_ = declared.value_or(written_);
    return;
  }
  phase_ = Phase::kBody;
  chunked_ = wants_trailers();
  if (!chunked_) length_ = written_;
}

// The head must go out before the body's end is known.
Result<void> ResponseStream::choose_framing_for_stream() {
  if (Result<void> taken = take_declared_length(); !taken) return taken;
  phase_ = no_body() ? Phase::kNoBody : Phase::kBody;
  if (phase_ == Phase::kNoBody || (length_ && !wants_trailers())) return {};
  length_.reset();
  chunked_ = !http10_;
  close_ |= http10_;
  return {};
}

// Whether a Connection that the handler has set is the server's business: whether the connection
// goes on. Another, such as the Upgrade of a 426, is sent as it is.
bool ResponseStream::takes_connection(std::string_view value) {
  const bool close = list_has_token(value, "close");
  close_ |= close;
  return close || list_has_token(value, "keep-alive");
}

// true if a Date was among them.
bool ResponseStream::append_fields() {
  bool has_date = false;
  for (std::size_t i = 0; i < headers_.size(); ++i) {
    const HeaderField field = headers_.at(i);
    if (is_framing_field(field.name)) {
      if (!equals_ignoring_case(field.name, "connection") || takes_connection(field.value))
        continue;
    }
    // Announces what will not come.
    if (!chunked_ && equals_ignoring_case(field.name, "trailer")) continue;
    has_date |= field.name.size() == 4 && equals_ignoring_case(field.name, "date");
    // An empty one says that there shall be none.
    if (field.value.empty() && equals_ignoring_case(field.name, "content-type")) continue;
    head_.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  report_refused_fields();
  return has_date;
}

bool ResponseStream::wants_trailers() const {
  if (http10_ || head_request_ || bodyless_status()) return false;
  return !trailers_.empty() || headers_.contains("trailer");
}

void ResponseStream::append_trailer_names() {
  if (trailers_.empty() || headers_.contains("trailer")) return;
  head_.append("Trailer: ");
  for (std::size_t i = 0; i < trailers_.size(); ++i) {
    head_.append(i == 0 ? "" : ", ").append(trailers_.at(i).name);
  }
  head_.append("\r\n");
}

void ResponseStream::append_trailers(std::string& out) const {
  for (std::size_t i = 0; i < trailers_.size(); ++i) {
    const HeaderField field = trailers_.at(i);
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
}

void ResponseStream::compose_head(std::string_view unbuffered) {
  EngineThread& thread = exchange_.thread();
  Engine& engine = thread.engine();
  if (exchange_.continue_pending() || engine.closes_idle()) close_ = true;
  head_.append(http10_ ? "HTTP/1.0 " : "HTTP/1.1 ");
  append_number(head_, static_cast<std::uint64_t>(status_));
  head_.append(" ").append(status_reason(status_)).append("\r\n");
  // A handler that passes on another's answer may have its date.
  if (!append_fields()) {
    head_.append("Date: ").append(thread.date.get(engine.clock, thread.now())).append("\r\n");
  }
  if (const std::string_view type = type_of_body(unbuffered); !type.empty()) {
    head_.append("Content-Type: ").append(type).append("\r\n");
  }
  if (chunked_) {
    append_trailer_names();
    head_.append("Transfer-Encoding: chunked\r\n");
  } else if (length_ && !bodyless_status() && (phase_ == Phase::kBody || *length_ > 0)) {
    head_.append("Content-Length: ");
    append_number(head_, *length_);
    head_.append("\r\n");
  }
  if (close_) {
    head_.append("Connection: close\r\n");
  } else if (http10_) {
    head_.append("Connection: keep-alive\r\n");
  }
  head_.append("\r\n");
  note_head();
}

Result<void> ResponseStream::send_buffered(std::string_view more) {
  if (!head_sent()) {
    if (Result<void> chosen = choose_framing_for_stream(); !chosen) return chosen;
    compose_head(more);
  }
  std::array<iovec, 4> parts;
  std::size_t count = 0;
  const std::size_t size = body_.size() + more.size();
  const bool chunked = chunked_ && size > 0;
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
  return sent;
}

ResponseStream::End ResponseStream::finish() {
  if (!settle(exchange_.request())) return End::kCut;
  if (!head_sent()) {
    choose_framing_for_end();
    compose_head({});
  }
  if (chunked_) {
    if (!body_.empty()) {
      append_number(head_, body_.size(), 16);
      head_.append("\r\n");
      body_.append("\r\n");
    }
    body_.append("0\r\n");
    append_trailers(body_);
    body_.append("\r\n");
  } else if (falls_short()) {
    return End::kCut;
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
