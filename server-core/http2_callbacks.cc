// Http2Session's half that nghttp2 calls.
#include "server-core/http2_callbacks.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "server-core/http2_session.h"

namespace vigil::http {
namespace {

std::string_view view(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace

// What nghttp2 tells, each with the session it is for.
struct Http2Receiver {
  Http2Session& self;

  // The session ends here: what is left of the input is not looked at.
  int verdict() const { return self.terminated_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0; }

  // Every frame's header, whatever becomes of the frame; but nghttp2 skips frames of unknown types
  // without a word, at the cost of their bytes.
  int begin_frame(const nghttp2_frame_hd& frame) {
    if (frame.type == NGHTTP2_HEADERS || frame.type == NGHTTP2_DATA) check_past(frame.stream_id);
    switch (frame.type) {
      case NGHTTP2_SETTINGS:
        self.count(Http2Abuse::kSettings);
        break;
      case NGHTTP2_PING:
        self.count(Http2Abuse::kPing);
        break;
      case NGHTTP2_WINDOW_UPDATE:
        self.count(Http2Abuse::kWindowUpdate);
        break;
      case NGHTTP2_DATA:
        if (frame.length == 0 && (frame.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
          self.count(Http2Abuse::kEmptyData);
        }
        break;
      case NGHTTP2_HEADERS:
        self.continuations_ = 0;
        break;
      case NGHTTP2_CONTINUATION:
        if (++self.continuations_ > self.continuations_max_) {
          self.end_for_abuse(Http2Abuse::kContinuation);
        }
        break;
      case NGHTTP2_RST_STREAM:  // frame_received()
        break;
      default:  // PRIORITY, and what means nothing to us
        if (frame.stream_id == 0 && frame.type == NGHTTP2_PRIORITY) {
          self.terminate(Http2Error::kProtocolError);  // nghttp2 does not look at it
        }
        self.count(Http2Abuse::kPriority);
        break;
    }
    return verdict();
  }

  // A frame for a stream that is gone.
  void check_past(std::int32_t id) {
    if (nghttp2_session_find_stream(self.session_, id) != nullptr) return;
    switch (self.history_.past(static_cast<std::uint32_t>(id))) {
      case StreamHistory::Past::kUnknown:
        return;
      case StreamHistory::Past::kEnded:
        return self.terminate(Http2Error::kStreamClosed);
      case StreamHistory::Past::kSkipped:
        return self.terminate(Http2Error::kProtocolError);
    }
  }

  int begin_headers(const nghttp2_frame& frame) {
    if (frame.headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    ++self.requests_;
    self.history_.opened(static_cast<std::uint32_t>(frame.hd.stream_id));
    if (self.has_room_for_stream()) {
      Http2Stream& stream = self.open_stream(frame.hd.stream_id);
      nghttp2_session_set_stream_user_data(self.session_, stream.id, &stream);
      return 0;
    }
    // Its fields are read on, because HPACK's state needs them.
    self.check(nghttp2_submit_rst_stream(self.session_, NGHTTP2_FLAG_NONE, frame.hd.stream_id,
                                         NGHTTP2_REFUSED_STREAM));
    return 0;
  }

  int header(const nghttp2_frame& frame, std::string_view name, std::string_view value) {
    Http2Stream* stream = self.stream_of(frame.hd.stream_id);
    if (stream != nullptr) self.add_field(*stream, name, value);
    return verdict();
  }

  int frame_received(const nghttp2_frame& frame) {
    switch (frame.hd.type) {
      case NGHTTP2_HEADERS:
        headers_received(frame);
        break;
      case NGHTTP2_DATA:
        data_received(frame);
        break;
      case NGHTTP2_RST_STREAM:
        self.history_.ended(static_cast<std::uint32_t>(frame.hd.stream_id));
        self.count(Http2Abuse::kRapidReset);
        break;
      case NGHTTP2_SETTINGS:
        self.greeted_ = true;
        for (std::size_t i = 0; i < frame.settings.niv; ++i) {
          self.window_setting_ |=
              frame.settings.iv[i].settings_id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE;
        }
        if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) self.acknowledged_ = true;
        break;
      case NGHTTP2_PING:
        if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0 && !self.ping_answered()) {
          ++self.pings_answered_;
        }
        break;
      default:
        break;
    }
    return verdict();
  }

  void headers_received(const nghttp2_frame& frame) {
    Http2Stream* stream = self.stream_of(frame.hd.stream_id);
    if (stream == nullptr || self.terminated_) return;
    const bool ends = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    stream->request_ended |= ends;
    if (!stream->head_whole) return self.end_head(*stream);
    if (stream->list_bytes > self.limits_.header_bytes_max) {  // with its trailers
      return self.reset(*stream, Http2Error::kEnhanceYourCalm);
    }
    if (ends) self.events_.on_body(*stream);
  }

  void data_received(const nghttp2_frame& frame) {
    const bool ends = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    // Nothing but padding.
    if (!ends && frame.hd.length > 0 && frame.hd.length == frame.data.padlen) {
      self.count(Http2Abuse::kEmptyData);
    }
    Http2Stream* stream = self.stream_of(frame.hd.stream_id);
    if (stream == nullptr || !ends) return;
    stream->request_ended = true;
    self.events_.on_body(*stream);
  }

  int data(std::int32_t id, std::string_view bytes) {
    Http2Stream* stream = self.stream_of(id);
    // Beyond its window too: nghttp2 is about to reset the stream, but passes the bytes on.
    if (stream == nullptr || stream->reset_by_us || stream->response_ended ||
        stream->unread_bytes() + bytes.size() > self.limits_.stream_window) {
      self.check(nghttp2_session_consume_connection(self.session_, bytes.size()));
      return 0;
    }
    if (stream->body_read == stream->body.size()) {
      stream->body.clear();
      stream->body_read = 0;
    }
    stream->body.append(bytes);
    self.events_.on_body(*stream);
    return 0;
  }

  int frame_sent(const nghttp2_frame& frame) {
    Http2Stream* stream = self.stream_of(frame.hd.stream_id);
    switch (frame.hd.type) {
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA:
        self.guard_.credit(Http2Abuse::kWindowUpdate, Http2Guard::kWindowUpdatesPerData);
        if (stream == nullptr || (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) break;
        stream->response_ended = true;
        // RFC 9113 §8.1: the rest of the request is not wanted.
        if (!stream->request_ended) self.reset(*stream, Http2Error::kNoError);
        break;
      case NGHTTP2_RST_STREAM:
        reset_sent(frame.rst_stream.error_code, stream);
        break;
      case NGHTTP2_GOAWAY:
        if (std::exchange(self.ping_behind_goaway_, false)) self.ping();
        if (frame.goaway.error_code == NGHTTP2_FLOW_CONTROL_ERROR) {
          note(Http2Abuse::kWindowOverflow);
        }
        break;
      default:
        break;
    }
    return 0;
  }

  void reset_sent(std::uint32_t error, const Http2Stream* stream) {
    if (error == NGHTTP2_FLOW_CONTROL_ERROR && self.window_setting_) {
      // nghttp2 resets the streams whose windows SETTINGS made too large; RFC 9113 §6.9.2 has an
      // error of the connection. (Noted when that is sent.)
      return self.terminate(Http2Error::kFlowControlError);
    }
    if (error == NGHTTP2_FLOW_CONTROL_ERROR) note(Http2Abuse::kWindowOverflow);
    // A stream that was refused before the client can have known the limit is not its fault.
    const bool provoked = stream != nullptr ? !stream->reset_by_us : self.acknowledged_;
    if (provoked && error != NGHTTP2_NO_ERROR) self.count(Http2Abuse::kProvokedReset);
  }

  void note(Http2Abuse kind) { ++self.counted_[static_cast<std::size_t>(kind)]; }

  int stream_closed(std::int32_t id) {
    Http2Stream* stream = self.stream_of(id);
    if (stream == nullptr) return 0;
    self.consume(*stream, stream->unread_bytes());
    stream->body.clear();
    stream->body_read = 0;
    stream->closed = true;
    if (stream->request_ended) self.history_.ended(static_cast<std::uint32_t>(id));
    nghttp2_session_set_stream_user_data(self.session_, id, nullptr);
    self.events_.on_closed(*stream);
    return 0;
  }

  // How long the next DATA frame of the stream is. What it has is not copied into a buffer of
  // nghttp2's: send_out() puts it behind the frame's header.
  ssize_t read_out(Http2Stream& stream, std::size_t size, std::uint32_t& flags) {
    const std::size_t kept = std::min(size, stream.out_bytes());
    const std::size_t direct = std::min(size - kept, stream.direct.size());
    if (kept + direct == 0 && !stream.out_ended) {
      stream.deferred = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (kept == stream.out_bytes() && stream.out_ended) end_out(stream, flags);
    return static_cast<ssize_t>(kept + direct);
  }

  // The frame of which read_out() has just said that it has `size` bytes. One, and nghttp2 comes back:
  // produce() has a limit.
  int send_out(Http2Stream& stream, std::string_view header, std::size_t size) {
    const std::size_t kept = std::min(size, stream.out_bytes());
    self.producing_->append(header)
        .append(stream.out, stream.out_sent, kept)
        .append(stream.direct.substr(0, size - kept));
    stream.out_sent += kept;
    stream.direct.remove_prefix(size - kept);
    if (stream.out_bytes() == 0) {
      stream.out.clear();
      stream.out_sent = 0;
    }
    self.events_.on_taken(stream);
    return NGHTTP2_ERR_PAUSE;
  }

  void end_out(Http2Stream& stream, std::uint32_t& flags) {
    flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream.out_trailers.empty()) return;
    flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    self.submit_trailers(stream);
  }
};

namespace {

// An exception must not pass through nghttp2, which is C: the session keeps it for its caller.
template <typename Function>
auto guarded(void* user, Function function) -> decltype(function(std::declval<Http2Receiver&>())) {
  auto& session = *static_cast<Http2Session*>(user);
  Http2Receiver receiver{session};
  try {
    return function(receiver);
  } catch (...) {
    Http2Callbacks::keep_exception(session);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
}

int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* frame, void* user) {
  return guarded(user, [&](Http2Receiver& to) { return to.begin_frame(*frame); });
}
int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  return guarded(user, [&](Http2Receiver& to) { return to.begin_headers(*frame); });
}
int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
              std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
              std::uint8_t, void* user) {
  return guarded(user, [&](Http2Receiver& to) {
    return to.header(*frame, view(name, name_size), view(value, value_size));
  });
}
// A field that nghttp2 would drop: with it the request is malformed (RFC 9113 §8.2.1).
int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t,
                      const std::uint8_t*, std::size_t, std::uint8_t, void*) {
  return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}
int on_frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  return guarded(user, [&](Http2Receiver& to) { return to.frame_received(*frame); });
}
int on_data_chunk(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                  std::size_t size, void* user) {
  return guarded(user, [&](Http2Receiver& to) { return to.data(id, view(bytes, size)); });
}
int on_frame_send(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  return guarded(user, [&](Http2Receiver& to) { return to.frame_sent(*frame); });
}
int on_send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* header, std::size_t size,
                 nghttp2_data_source* source, void* user) {
  constexpr std::size_t kHeaderBytes = 9;  // RFC 9113 §4.1; none of ours is padded
  auto& stream = *static_cast<Http2Stream*>(source->ptr);
  return guarded(user, [&](Http2Receiver& to) {
    return to.send_out(stream, view(header, kHeaderBytes), size);
  });
}
int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
  return guarded(user, [&](Http2Receiver& to) { return to.stream_closed(id); });
}

}  // namespace

void Http2Callbacks::keep_exception(Http2Session& session) {
  session.failure_ = std::current_exception();
}

const nghttp2_session_callbacks* Http2Callbacks::table() {
  static nghttp2_session_callbacks* const kTable = [] {
    nghttp2_session_callbacks* table = nullptr;
    if (nghttp2_session_callbacks_new(&table) != 0) throw std::bad_alloc();
    nghttp2_session_callbacks_set_on_begin_frame_callback(table, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(table, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(table, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(table, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(table, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_send_callback(table, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(table, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(table, on_send_data);
    return table;
  }();
  return kTable;
}

ssize_t Http2Callbacks::read_out(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t size,
                                 std::uint32_t* flags, nghttp2_data_source* source, void* user) {
  auto& stream = *static_cast<Http2Stream*>(source->ptr);
  return guarded(user, [&](Http2Receiver& to) { return to.read_out(stream, size, *flags); });
}

}  // namespace vigil::http
