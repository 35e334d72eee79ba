// Http2Session: the protocol of one HTTP/2 connection, server's side (RFC 9113): bytes in, events
// and bytes out. No I/O, no clock, no threads of its own.
//
//   Http2Session session(limits, events, now);
//   session.receive(bytes, now);          // calls events: on_request(stream), on_body(stream), …
//   session.respond(stream, 200, fields, Http2Session::Body::kFollows);
//   stream.out.append("hello");  session.out_ended(stream);
//   session.produce(output, 64 * 1024);   // what is to be sent now
//
// nghttp2 does the framing, HPACK, flow control and the states of streams. What it leaves to its
// user is here: the rules for heads that HTTP/1.1 requests have to keep too (head_rules.h), the size
// of header lists, how many streams may be open, and abuse (http2_guard.h).
//
// Memory. Of the peer's data at most Limits::stream_window bytes a stream and connection_window in
// all are kept: the peer gets its window back as consume() says that a handler has read. Of a header
// list at most header_bytes_max are kept, whatever HPACK makes of the bytes that came.
//
// Not thread-safe. Whatever a peer sends, nothing here fails but by std::bad_alloc and by ended().
// std::bad_alloc may come from any function that is not noexcept or const; the session must then be given
// up. If it comes from receive(), produce(), an event, or nghttp2, nghttp2 is not used any more behind it
// (http2_memory.h): ended() is true, and what would use it throws again.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "server-core/head_rules.h"
#include "server-core/headers.h"
#include "server-core/http2_guard.h"
#include "server-core/http2_memory.h"
#include "server-core/http2_stream.h"

struct nghttp2_session;

namespace vigil::http {

// RFC 9113 §7.
enum class Http2Error : std::uint32_t {
  kNoError = 0,
  kProtocolError = 1,
  kInternalError = 2,
  kFlowControlError = 3,
  kStreamClosed = 5,
  kRefusedStream = 7,
  kCancel = 8,
  kEnhanceYourCalm = 11,
};

// What a client sends first (RFC 9113 §3.4).
inline constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Told by Http2Session::receive() and produce(), during the call. May call the session's functions
// for the stream, but not receive() or produce().
class Http2Events {
 public:
  virtual ~Http2Events() = default;
  // The head is whole and good; its body may follow.
  virtual void on_request(Http2Stream& stream) = 0;
  // The head is whole, but not to be served: to be answered with `refusal`.
  virtual void on_refused(Http2Stream& stream, const Refusal& refusal) = 0;
  // More body, or its end (`request_ended`).
  virtual void on_body(Http2Stream& stream) = 0;
  // Some of `out` has been taken.
  virtual void on_taken(Http2Stream& stream) = 0;
  // `closed` is set: what is submitted for it is ignored. To be given back by release(), now or
  // later.
  virtual void on_closed(Http2Stream& stream) = 0;
};

// Remembers a little of the streams that are gone, where nghttp2 remembers nothing: so a client that
// uses one of them again is told its error (RFC 9113 §5.1, §5.1.1). Bounded: of what is long ago
// nothing is known, and such frames are ignored.
class StreamHistory {
 public:
  enum class Past : std::uint8_t {
    kUnknown,
    kEnded,    // by the client, with END_STREAM or RST_STREAM, and closed since
    kSkipped,  // never opened, but a higher one was
  };

  void opened(std::uint32_t id) {
    if (id > last_ + 2) skipped_[next_skipped_++ % skipped_.size()] = {last_ + 2, id};
    last_ = id;
  }
  void ended(std::uint32_t id) { ended_[next_ended_++ % ended_.size()] = id; }
  Past past(std::uint32_t id) const;

 private:
  struct Range {
    std::uint32_t begin = 0, end = 0;
  };
  std::uint32_t last_ = 0xFFFFFFFF;  // 1 is the first one that may come
  std::array<std::uint32_t, 64> ended_{};
  std::array<Range, 16> skipped_{};
  std::size_t next_ended_ = 0, next_skipped_ = 0;
};

class Http2Session {
 public:
  struct Limits {
    std::uint32_t streams_max = 250;            // open, and in handlers, at once
    std::uint32_t stream_window = 64 * 1024;    // of a request's body
    std::uint32_t connection_window = 1 << 20;  // of all bodies
    std::size_t header_bytes_max = 64 * 1024;   // a header list; beyond it 431
    std::size_t header_fields_max = 256;
    Http2Guard::Rates rates;
  };
  // A header list so many times too long is an attack: the connection ends.
  static constexpr std::size_t kHeaderBombFactor = 4;
  // Frames that may wait to be sent because the peer does not read, besides its streams' data.
  static constexpr std::size_t kQueuedFramesMax = 2000;
  // Streams that have ended and are kept for the next ones.
  static constexpr std::size_t kSpareStreams = 64;

  enum class Body : std::uint8_t { kNone, kFollows };

  Http2Session(const Limits& limits, Http2Events& events, MonotonicTime now);
  ~Http2Session();
  Http2Session(const Http2Session&) = delete;
  Http2Session& operator=(const Http2Session&) = delete;

  // The next bytes from the peer, from the preface on.
  void receive(std::string_view bytes, MonotonicTime now);
  // Appends what is to be sent, until `out` has `bytes_max` or somewhat more (a frame).
  void produce(std::string& out, std::size_t bytes_max);

  // --- Of one stream. Each does nothing if it is closed.

  // The final head. `fields` are copied, their names made lower-case. With kFollows the body is
  // what is put into `out` until out_ended().
  void respond(Http2Stream& stream, int status, std::span<const HeaderField> fields, Body body);
  // An informational head, 100 to 199.
  void inform(Http2Stream& stream, int status, std::span<const HeaderField> fields);
  // Something has been put into `out`.
  void out_grown(Http2Stream& stream);
  // Nothing will be put into `out` any more; `out_trailers` go behind it.
  void out_ended(Http2Stream& stream);
  void reset(Http2Stream& stream, Http2Error error);
  // `bytes` of the body have been read and are the peer's to send again. Also for a closed stream.
  void consume(Http2Stream& stream, std::size_t bytes);
  // A closed stream that nobody looks at any more.
  void release(Http2Stream& stream) noexcept;

  // --- Of the connection.

  // The first of two steps: GOAWAY with the highest stream id, so that the client opens no more
  // streams, while those on their way are still served; and a PING, whose answer says that it knows.
  void announce_end();
  // The second one: GOAWAY with the last stream that is served. No more are accepted.
  void end_after_streams();
  void ping();
  // GOAWAY with `error`: nothing but that goes out any more.
  void terminate(Http2Error error);

  // --- What it is like.

  // Nothing more will be sent or is wanted: the connection can be closed.
  bool ended() const;
  bool has_output() const;
  // The peer has answered the last ping().
  bool ping_answered() const { return pings_answered_ >= pings_sent_; }
  // SETTINGS have come: the peer speaks HTTP/2.
  bool greeted() const { return greeted_; }
  // Streams that are not closed, or not released.
  std::span<const std::unique_ptr<Http2Stream>> streams() const { return streams_; }
  // Requests so far, refused ones too.
  std::uint64_t requests() const { return requests_; }
  // What it has been ended for.
  const Http2Guard& guard() const { return guard_; }
  // Events that are only counted, since the last call: header lists that got 431, and windows.
  std::uint64_t take_counted(Http2Abuse kind) {
    return std::exchange(counted_[static_cast<std::size_t>(kind)], 0);
  }

 private:
  friend struct Http2Callbacks;
  friend struct Http2Receiver;

  bool given_up() const { return given_up_ || memory_.failed(); }
  nghttp2_session* live() const;
  void check(std::ptrdiff_t result);
  void produce_frames(std::string& out, std::size_t bytes_max);
  Http2Stream* stream_of(std::int32_t id) const;
  Http2Stream& open_stream(std::int32_t id);
  bool has_room_for_stream() const { return streams_.size() < limits_.streams_max; }
  void count(Http2Abuse kind);
  void end_for_abuse(Http2Abuse kind);
  void add_field(Http2Stream& stream, std::string_view name, std::string_view value);
  void end_head(Http2Stream& stream);
  void put_fields_together(Http2Stream& stream);
  void submit_trailers(Http2Stream& stream);
  void submit_headers(Http2Stream& stream, int status, std::span<const HeaderField> fields,
                      Body body);

  const Limits limits_;
  Http2Events& events_;
  Http2Guard guard_;
  Http2Memory memory_;
  nghttp2_session* session_ = nullptr;  // in `memory_`
  std::vector<std::unique_ptr<Http2Stream>> streams_;
  std::vector<std::unique_ptr<Http2Stream>> spare_;
  std::string first_;                 // the first SETTINGS frame, as it goes out
  std::string* producing_ = nullptr;  // while in produce()
  MonotonicTime now_{};               // of receive()
  std::uint64_t requests_ = 0;
  std::uint32_t pings_sent_ = 0;
  std::uint32_t pings_answered_ = 0;
  const std::size_t continuations_max_;
  std::size_t continuations_ = 0;  // of the present header block
  bool ping_behind_goaway_ = false;
  bool window_setting_ = false;  // INITIAL_WINDOW_SIZE has come, and its effects are not sent yet
  StreamHistory history_;
  bool greeted_ = false;
  bool acknowledged_ = false;  // our SETTINGS are: the peer knows its limits
  bool terminated_ = false;
  std::array<std::uint64_t, kHttp2AbuseKinds> counted_{};
  bool given_up_ = false;       // something has been thrown in the middle of nghttp2's work
  std::exception_ptr failure_;  // thrown inside a callback, which C code must not see
  std::string send_text_;       // scratch, for submit_headers()
};

}  // namespace vigil::http
