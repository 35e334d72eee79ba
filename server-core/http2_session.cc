#include "server-core/http2_session.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include <nghttp2/nghttp2.h>

#include "server-core/http2_callbacks.h"
#include "server-core/url.h"

namespace vigil::http {
namespace {

// Frames of the largest size that we accept (the default, RFC 9113 §4.2).
constexpr std::size_t kFrameBytes = 16 * 1024;
// A piece of input: between two of them is looked at what the first has done.
constexpr std::size_t kPieceBytes = 8 * 1024;

struct OptionDeleter {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};

std::unique_ptr<nghttp2_option, OptionDeleter> make_options() {
  nghttp2_option* option = nullptr;
  if (nghttp2_option_new(&option) != 0) throw std::bad_alloc();
  std::unique_ptr<nghttp2_option, OptionDeleter> owned(option);
  // The window is the peer's again when a handler has read, not when bytes arrive.
  nghttp2_option_set_no_auto_window_update(option, 1);
  // Streams that have ended are not kept for RFC 7540's priorities, which nobody uses any more.
  nghttp2_option_set_no_closed_streams(option, 1);
  // Ours counts frames. This one, back-ported to 1.52, counts the times that it waits for the rest of
  // one, so that it ends connections whose frames come in small pieces.
  nghttp2_option_set_max_continuations(option, std::numeric_limits<std::size_t>::max());
  nghttp2_option_set_max_outbound_ack(option, Http2Session::kQueuedFramesMax);
  // Ours (http2_guard.h) are nearer, and count.
  nghttp2_option_set_stream_reset_rate_limit(option, 100'000, 10'000);
  return owned;
}

nghttp2_nv field(std::string_view name, std::string_view value, std::uint8_t flags) {
  nghttp2_nv nv;
  nv.name = reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data()));    // NOLINT: not
  nv.value = reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data()));  // written
  nv.namelen = name.size();
  nv.valuelen = value.size();
  nv.flags = flags;
  return nv;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string to_lower(std::string_view text) {
  std::string result(text);
  std::transform(text.begin(), text.end(), result.begin(), lower);
  return result;
}

// Replaces the value of `id` in a SETTINGS frame.
void replace_setting(std::string& frame, std::uint16_t id, std::uint32_t value) {
  constexpr std::size_t kHeaderBytes = 9;
  for (std::size_t at = kHeaderBytes; at + 6 <= frame.size(); at += 6) {
    if (static_cast<std::uint8_t>(frame[at]) != id >> 8) continue;
    if (static_cast<std::uint8_t>(frame[at + 1]) != (id & 0xFF)) continue;
    for (int i = 0; i < 4; ++i) frame[at + 2 + i] = static_cast<char>(value >> (24 - 8 * i));
  }
}

}  // namespace

// A header block may have as many CONTINUATION frames as the longest list in frames of full size
// takes, and some.
Http2Session::Http2Session(const Limits& limits, Http2Events& events, MonotonicTime now)
    : limits_(limits),
      events_(events),
      guard_(now, limits.rates),
      now_(now),
      continuations_max_(8 + limits.header_bytes_max / kFrameBytes) {
  const auto options = make_options();
  check(nghttp2_session_server_new2(&session_, Http2Callbacks::table(), this, options.get()));
  // For one stream too many nghttp2 ends the connection, where RFC 9113 §5.1.2 has an error of that
  // stream. So it is told a limit that is out of reach, and the peer the real one, which
  // Http2Receiver::begin_headers() enforces.
  constexpr std::uint32_t kOutOfReach = 0x7FFFFFFF;
  const std::array<nghttp2_settings_entry, 4> settings = {{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kOutOfReach},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(limits.header_bytes_max)},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  }};
  check(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()));
  const std::uint8_t* bytes = nullptr;
  const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
  check(static_cast<int>(std::min<ssize_t>(size, 0)));
  first_.assign(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  replace_setting(first_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_max);
  check(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                              static_cast<std::int32_t>(limits.connection_window)));
}

Http2Session::~Http2Session() { nghttp2_session_del(session_); }

// nghttp2's answer to what cannot fail but for want of memory.
void Http2Session::check(int result) {
  if (result == NGHTTP2_ERR_NOMEM) throw std::bad_alloc();
}

StreamHistory::Past StreamHistory::past(std::uint32_t id) const {
  if (std::find(ended_.begin(), ended_.end(), id) != ended_.end()) return Past::kEnded;
  const bool skipped = std::any_of(skipped_.begin(), skipped_.end(), [&](const Range& range) {
    return id >= range.begin && id < range.end;
  });
  return skipped ? Past::kSkipped : Past::kUnknown;
}

// --- In and out.

void Http2Session::receive(std::string_view bytes, MonotonicTime now) {
  now_ = now;
  while (!bytes.empty() && !terminated_) {
    const std::string_view piece = bytes.substr(0, kPieceBytes);
    const ssize_t used = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size());
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if (terminated_) return;
    if (used < 0) {
      check(static_cast<int>(used));
      if (used == NGHTTP2_ERR_FLOODED) return end_for_abuse(Http2Abuse::kUnread);
      return terminate(Http2Error::kProtocolError);
    }
    bytes.remove_prefix(static_cast<std::size_t>(used));
    if (nghttp2_session_get_outbound_queue_size(session_) > kQueuedFramesMax) {
      return end_for_abuse(Http2Abuse::kUnread);
    }
  }
}

void Http2Session::produce(std::string& out, std::size_t bytes_max) {
  out.append(first_);
  first_.clear();
  producing_ = &out;
  while (out.size() < bytes_max) {
    const std::size_t before = out.size();
    const std::uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    check(static_cast<int>(std::min<ssize_t>(size, 0)));
    if (size > 0) out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    // Of data it gives nothing: Http2Receiver::send_out() has appended it.
    if (out.size() == before) break;
  }
  window_setting_ = false;
}

bool Http2Session::ended() const {
  return first_.empty() && nghttp2_session_want_write(session_) == 0 &&
         (terminated_ || nghttp2_session_want_read(session_) == 0);
}

bool Http2Session::has_output() const {
  return !first_.empty() || nghttp2_session_want_write(session_) != 0;
}

// --- Streams.

Http2Stream* Http2Session::stream_of(std::int32_t id) const {
  return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session_, id));
}

Http2Stream& Http2Session::open_stream(std::int32_t id) {
  streams_.reserve(streams_.size() + 1);
  std::unique_ptr<Http2Stream> stream;
  if (spare_.empty()) {
    stream = std::make_unique<Http2Stream>();
  } else {
    stream = std::move(spare_.back());
    spare_.pop_back();
  }
  stream->id = id;
  stream->index = streams_.size();
  stream->began = now_;
  streams_.push_back(std::move(stream));
  return *streams_.back();
}

namespace {

// Keeps a string's memory for the next stream, unless it is much.
void empty(std::string& text) {
  constexpr std::size_t kKept = 4096;
  text.clear();
  if (text.capacity() > kKept) std::string().swap(text);
}

// As newly made, but for the memory of its strings.
void renew(Http2Stream& stream) {
  empty(stream.text);
  empty(stream.body);
  empty(stream.out);
  stream.spans.clear();
  stream.list_bytes = 0;
  stream.fields.clear();
  stream.head = {};
  stream.authority = {};
  stream.framing = {};
  stream.head_whole = stream.request_ended = false;
  stream.body_read = stream.out_sent = 0;
  stream.trailers.clear();
  stream.response_begun = stream.out_ended = stream.deferred = stream.response_ended = false;
  stream.out_trailers.clear();
  stream.reset_by_us = stream.closed = false;
  stream.work = Http2Stream::Work::kNone;
  stream.pass = QueuePass::kNone;
  stream.read_deadline = stream.write_deadline = kNoDeadline;
  stream.late = stream.waiting = stream.stop_requested = false;
  stream.out_counted = 0;
  stream.stop_source.reset();
}

}  // namespace

void Http2Session::release(Http2Stream& stream) noexcept {
  const std::size_t index = stream.index;
  std::unique_ptr<Http2Stream> released = std::move(streams_[index]);
  if (index + 1 != streams_.size()) {
    streams_[index] = std::move(streams_.back());
    streams_[index]->index = index;
  }
  streams_.pop_back();
  if (spare_.size() >= kSpareStreams) return;
  try {
    renew(*released);
    spare_.push_back(std::move(released));
  } catch (const std::bad_alloc&) {
    // One spare stream less.
  }
}

void Http2Session::submit_headers(Http2Stream& stream, int status,
                                  std::span<const HeaderField> fields, Body body) {
  std::array<char, 3> digits{};
  std::to_chars(digits.data(), digits.data() + digits.size(), status);
  std::size_t names = 0;
  for (const HeaderField& each : fields) names += each.name.size();
  send_text_.clear();
  send_text_.reserve(names);  // the views below look into it
  std::vector<nghttp2_nv> nvs;
  nvs.reserve(fields.size() + 1);
  nvs.push_back(field(":status", {digits.data(), digits.size()}, NGHTTP2_NV_FLAG_NO_COPY_NAME));
  for (const HeaderField& each : fields) {
    const std::size_t at = send_text_.size();
    for (const char c : each.name) send_text_.push_back(lower(c));
    nvs.push_back(field(std::string_view(send_text_).substr(at), each.value, NGHTTP2_NV_FLAG_NONE));
  }
  if (status < 200) {
    check(nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream.id, nullptr, nvs.data(),
                                 nvs.size(), nullptr));
    return;
  }
  nghttp2_data_provider provider{{.ptr = &stream}, Http2Callbacks::read_out};
  stream.response_begun = true;
  if (body == Body::kNone) stream.out_ended = true;
  check(nghttp2_submit_response(session_, stream.id, nvs.data(), nvs.size(),
                                body == Body::kFollows ? &provider : nullptr));
}

void Http2Session::submit_trailers(Http2Stream& stream) {
  std::vector<std::string> names;  // lower case, which a HeaderMap need not be
  std::vector<nghttp2_nv> nvs;
  names.reserve(stream.out_trailers.size());
  nvs.reserve(stream.out_trailers.size());
  for (std::size_t i = 0; i < stream.out_trailers.size(); ++i) {
    const HeaderField each = stream.out_trailers.at(i);
    names.push_back(to_lower(each.name));
    nvs.push_back(field(names.back(), each.value, NGHTTP2_NV_FLAG_NONE));
  }
  check(nghttp2_submit_trailer(session_, stream.id, nvs.data(), nvs.size()));
}

void Http2Session::respond(Http2Stream& stream, int status, std::span<const HeaderField> fields,
                           Body body) {
  if (!stream.closed) submit_headers(stream, status, fields, body);
}

void Http2Session::inform(Http2Stream& stream, int status, std::span<const HeaderField> fields) {
  if (!stream.closed) submit_headers(stream, status, fields, Body::kNone);
}

void Http2Session::out_grown(Http2Stream& stream) {
  if (stream.closed || !std::exchange(stream.deferred, false)) return;
  check(nghttp2_session_resume_data(session_, stream.id));
}

void Http2Session::out_ended(Http2Stream& stream) {
  stream.out_ended = true;
  out_grown(stream);
}

void Http2Session::reset(Http2Stream& stream, Http2Error error) {
  if (stream.closed || std::exchange(stream.reset_by_us, true)) return;
  check(nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id,
                                  static_cast<std::uint32_t>(error)));
}

void Http2Session::consume(Http2Stream& stream, std::size_t bytes) {
  if (bytes == 0) return;
  check(nghttp2_session_consume_connection(session_, bytes));
  // Of a body that has ended nothing can be sent again.
  if (!stream.closed && !stream.request_ended) {
    check(nghttp2_session_consume_stream(session_, stream.id, bytes));
  }
}

// --- The connection.

void Http2Session::announce_end() {
  check(nghttp2_submit_shutdown_notice(session_));
  ping_behind_goaway_ = true;  // nghttp2 would send it in front
}

void Http2Session::end_after_streams() {
  check(nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                              nullptr, 0));
}

void Http2Session::ping() {
  ++pings_sent_;
  check(nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr));
}

void Http2Session::terminate(Http2Error error) {
  if (std::exchange(terminated_, true)) return;
  check(nghttp2_session_terminate_session(session_, static_cast<std::uint32_t>(error)));
}

void Http2Session::end_for_abuse(Http2Abuse kind) {
  guard_.note(kind);
  terminate(Http2Error::kEnhanceYourCalm);
}

void Http2Session::count(Http2Abuse kind) {
  if (guard_.count(kind, now_)) terminate(Http2Error::kEnhanceYourCalm);
}

// --- Heads.

void Http2Session::add_field(Http2Stream& stream, std::string_view name, std::string_view value) {
  constexpr std::size_t kFieldOverhead = 32;  // RFC 9113 §6.5.2
  constexpr std::size_t kPseudoMax = 5;
  stream.list_bytes += name.size() + value.size() + kFieldOverhead;
  if (stream.list_bytes > kHeaderBombFactor * limits_.header_bytes_max) {
    return end_for_abuse(Http2Abuse::kHeaderBomb);
  }
  // Beyond the limit it is only read on, because HPACK's state needs it.
  if (stream.list_bytes > limits_.header_bytes_max) return;
  if (stream.head_whole) return stream.trailers.add(name, value);
  if (stream.spans.size() > limits_.header_fields_max + kPseudoMax) return;  // enough to refuse it
  const auto at = static_cast<std::uint32_t>(stream.text.size());
  stream.text.append(name).append(value);
  stream.spans.push_back(
      {at, at + static_cast<std::uint32_t>(name.size()), static_cast<std::uint32_t>(value.size())});
}

namespace {

// The pseudo-header fields of a request (RFC 9113 §8.3.1); nghttp2 has seen to it that each is there
// once, in front of the others, and well-formed.
struct Pseudo {
  std::string_view method, path, authority;
};

std::optional<Refusal> check_head(const Request::Head& head, std::string_view authority,
                                  Framing& framing) {
  if (head.method == "CONNECT" || head.method == "TRACE") {
    return Refusal{501, "this method is not served"};
  }
  if (!is_header_name(head.method)) return Refusal{400, "invalid method"};
  const bool clean = std::all_of(head.target.begin(), head.target.end(),
                                 [](char c) { return c > 0x20 && c < 0x7F; });
  if (!clean) return Refusal{400, "invalid byte in the request target"};
  if (!head.target.starts_with('/') && head.target != "*") {
    return Refusal{400, "malformed request target"};
  }
  // RFC 9113 §8.3.1: a recipient must not guess which of two is meant.
  const std::string_view host = head.headers.get("host").value_or("");
  if (!authority.empty() && host != authority) return Refusal{400, ":authority and host differ"};
  return check_fields(head.headers, HttpVersion::kHttp2, framing);
}

}  // namespace

// The views into `text`, which does not grow any more from here on.
void Http2Session::put_fields_together(Http2Stream& stream) {
  Pseudo pseudo;
  std::string cookies;
  bool has_host = false;
  std::size_t cookie_at = 0;
  std::size_t cookie_count = 0;
  const auto view = [&](std::size_t at, std::size_t size) {
    return std::string_view(stream.text).substr(at, size);
  };
  const auto is_cookie = [&](const Http2Stream::Span& span) {
    return view(span.name, span.value - span.name) == "cookie";
  };
  // RFC 9113 §8.2.3: a cookie may come in several fields, and is one to a handler.
  for (const Http2Stream::Span& span : stream.spans) cookie_count += is_cookie(span) ? 1 : 0;
  if (cookie_count > 1) {
    for (const Http2Stream::Span& span : stream.spans) {
      if (!is_cookie(span)) continue;
      cookies.append(cookies.empty() ? "" : "; ").append(view(span.value, span.value_size));
    }
    cookie_at = stream.text.size();
    stream.text.append(cookies);
  }
  bool cookie_seen = false;
  stream.fields.reserve(stream.spans.size() + 1);
  for (const Http2Stream::Span& span : stream.spans) {
    const std::string_view name = view(span.name, span.value - span.name);
    std::string_view value = view(span.value, span.value_size);
    if (name.starts_with(':')) {
      if (name == ":method") pseudo.method = value;
      if (name == ":path") pseudo.path = value;
      if (name == ":authority") pseudo.authority = value;
      continue;
    }
    if (cookie_count > 1 && is_cookie(span)) {
      if (std::exchange(cookie_seen, true)) continue;
      value = view(cookie_at, cookies.size());
    }
    has_host |= name == "host";
    stream.fields.push_back({name, value});
  }
  // As HTTP/1.1 has it, for handlers and for the rules.
  if (!has_host && !pseudo.authority.empty()) {
    stream.fields.insert(stream.fields.begin(), {"host", pseudo.authority});
  }
  stream.head = {pseudo.method, pseudo.path, HttpVersion::kHttp2, HeaderList(stream.fields)};
  stream.authority = pseudo.authority;
}

void Http2Session::end_head(Http2Stream& stream) {
  stream.head_whole = true;
  put_fields_together(stream);
  if (stream.list_bytes > limits_.header_bytes_max) {
    ++counted_[static_cast<std::size_t>(Http2Abuse::kHeaderList)];
    count(Http2Abuse::kHeaderList);
    return events_.on_refused(stream, {431, "the request's header section is too long"});
  }
  if (stream.fields.size() > limits_.header_fields_max) {
    return events_.on_refused(stream, {431, "too many header fields"});
  }
  if (auto refusal = check_head(stream.head, stream.authority, stream.framing)) {
    return events_.on_refused(stream, *refusal);
  }
  stream.head.body_unannounced = !stream.request_ended && !stream.framing.has_content_length;
  events_.on_request(stream);
}

}  // namespace vigil::http
