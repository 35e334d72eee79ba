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

Http2Memory& memory_at(void* user) { return *static_cast<Http2Memory*>(user); }

// A session's memory as nghttp2, which copies this, asks for it.
nghttp2_mem functions_of(Http2Memory& memory) {
  nghttp2_mem functions;
  functions.mem_user_data = &memory;
  functions.malloc = [](std::size_t size, void* user) { return memory_at(user).allocate(size); };
  functions.free = [](void* bytes, void*) { Http2Memory::release(bytes); };
  functions.calloc = [](std::size_t count, std::size_t size, void* user) {
    return memory_at(user).allocate_zeroed(count, size);
  };
  functions.realloc = [](void* bytes, std::size_t size, void* user) {
    return memory_at(user).reallocate(bytes, size);
  };
  return functions;
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
  nghttp2_mem functions = functions_of(memory_);
  check(nghttp2_session_server_new3(&session_, Http2Callbacks::table(), this, options.get(),
                                    &functions));
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
  check(size);
  first_.assign(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  replace_setting(first_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_max);
  check(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                              static_cast<std::int32_t>(limits.connection_window)));
}

Http2Session::~Http2Session() {
  if (!given_up()) nghttp2_session_del(session_);
}

// nghttp2's session, for what may be called from outside of its callbacks.
nghttp2_session* Http2Session::live() const {
  if (given_up()) throw std::bad_alloc();
  return session_;
}

// nghttp2's answer to what cannot fail but for want of memory; whatever it makes of that.
void Http2Session::check(std::ptrdiff_t result) {
  if (std::exception_ptr failure = std::exchange(failure_, nullptr)) {
    given_up_ = true;
    std::rethrow_exception(failure);
  }
  given_up_ |= result == NGHTTP2_ERR_NOMEM;
  if (given_up()) throw std::bad_alloc();
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
        live(), reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size());
    check(used);
    if (terminated_) return;
    if (used < 0) {
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
  try {
    produce_frames(out, bytes_max);
  } catch (...) {
    given_up_ = true;  // what nghttp2 has given out is lost
    throw;
  }
  window_setting_ = false;
}

void Http2Session::produce_frames(std::string& out, std::size_t bytes_max) {
  out.append(first_);
  first_.clear();
  producing_ = &out;
  while (out.size() < bytes_max) {
    const std::size_t before = out.size();
    const std::uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(live(), &bytes);
    check(size);
    if (size > 0) out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    // Of data it gives nothing: Http2Receiver::send_out() has appended it.
    if (out.size() == before) break;
  }
}

bool Http2Session::ended() const {
  if (given_up()) return true;
  return first_.empty() && nghttp2_session_want_write(session_) == 0 &&
         (terminated_ || nghttp2_session_want_read(session_) == 0);
}

bool Http2Session::has_output() const {
  return !given_up() && (!first_.empty() || nghttp2_session_want_write(session_) != 0);
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
    check(nghttp2_submit_headers(live(), NGHTTP2_FLAG_NONE, stream.id, nullptr, nvs.data(),
                                 nvs.size(), nullptr));
    return;
  }
  nghttp2_data_provider provider{{.ptr = &stream}, Http2Callbacks::read_out};
  stream.response_begun = true;
  if (body == Body::kNone) stream.out_ended = true;
  check(nghttp2_submit_response(live(), stream.id, nvs.data(), nvs.size(),
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
  check(nghttp2_submit_trailer(live(), stream.id, nvs.data(), nvs.size()));
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
  check(nghttp2_session_resume_data(live(), stream.id));
}

void Http2Session::out_ended(Http2Stream& stream) {
  stream.out_ended = true;
  out_grown(stream);
}

void Http2Session::reset(Http2Stream& stream, Http2Error error) {
  if (stream.closed || std::exchange(stream.reset_by_us, true)) return;
  check(nghttp2_submit_rst_stream(live(), NGHTTP2_FLAG_NONE, stream.id,
                                  static_cast<std::uint32_t>(error)));
}

void Http2Session::consume(Http2Stream& stream, std::size_t bytes) {
  if (bytes == 0) return;
  check(nghttp2_session_consume_connection(live(), bytes));
  // Of a body that has ended nothing can be sent again.
  if (!stream.closed && !stream.request_ended) {
    check(nghttp2_session_consume_stream(live(), stream.id, bytes));
  }
}

// --- The connection.

void Http2Session::announce_end() {
  check(nghttp2_submit_shutdown_notice(live()));
  ping_behind_goaway_ = true;  // nghttp2 would send it in front
}

void Http2Session::end_after_streams() {
  check(nghttp2_submit_goaway(live(), NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(live()), NGHTTP2_NO_ERROR,
                              nullptr, 0));
}

void Http2Session::ping() {
  ++pings_sent_;
  check(nghttp2_submit_ping(live(), NGHTTP2_FLAG_NONE, nullptr));
}

void Http2Session::terminate(Http2Error error) {
  if (std::exchange(terminated_, true)) return;
  check(nghttp2_session_terminate_session(live(), static_cast<std::uint32_t>(error)));
}

void Http2Session::end_for_abuse(Http2Abuse kind) {
  guard_.note(kind);
  terminate(Http2Error::kEnhanceYourCalm);
}

void Http2Session::count(Http2Abuse kind) {
  if (guard_.count(kind, now_)) terminate(Http2Error::kEnhanceYourCalm);
}

}  // namespace vigil::http
