// Http2Stream: one request and its response on a connection that carries many.
//
//   kNone ── head whole ──▶ kCollecting ── small body whole ──▶ kReady ── a thread has it ──▶
//     │                                                         ▲    ▲        kRunning
//     │                     a slot, or its time is over         │    │           │  │ no slot is free
//     │              kQueued ◀──────────────────────────────────┼────┼───────────┼──┘ (FlightLimit)
//     │                 └───────────────────────────────────────┘    │           │ returned, or thrown
//     ├── no body, or one to be streamed ────────────────────────────┘           ▼
//     └── refused: answered by the engine ──────────────────────────────────▶ kAnswered
//
// Beside that runs the stream's own life on the wire (`closed`): a peer may reset it at any time,
// also under its handler. It is freed when both have ended.
//
// All guarded by the mutex of its Http2Connection, except while kRunning: then what is marked so is
// the handler's.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server-core/flight_limit.h"
#include "server-core/head_rules.h"
#include "server-core/headers.h"
#include "server-core/request.h"

namespace vigil::http {

class Http2Connection;

struct Http2Stream final : FlightWaiter {
  enum class Work : std::uint8_t { kNone, kCollecting, kReady, kRunning, kQueued, kAnswered };

  // Http2Connection::take_slot().
  bool take_slot() noexcept override;

  // --- The session's.

  std::int32_t id = 0;
  std::size_t index = 0;  // in the session's table

  // The request. Once the head is whole, `head` borrows from `text`, and neither changes any more:
  // the handler may read them.
  std::string text;
  struct Span {
    std::uint32_t name;
    std::uint32_t value;
    std::uint32_t value_size;
  };
  std::vector<Span> spans;     // in `text`, while the head comes in
  std::size_t list_bytes = 0;  // of the header list, as RFC 9113 §6.5.2 counts it
  std::vector<HeaderField> fields;
  Request::Head head;
  std::string_view authority;  // the field :authority; what "host" says is in the head
  Framing framing;
  bool head_whole = false;
  bool request_ended = false;  // END_STREAM has come

  std::string body;           // received, from `body_read` on not read yet
  std::size_t body_read = 0;  // less than the window that the peer has
  HeaderMap trailers;

  // The response. `out` is given to the session as the peer's window takes it.
  std::string out;
  std::size_t out_sent = 0;
  std::string_view direct;  // what comes behind `out`: the writer's own, while it holds the mutex
  bool response_begun = false;
  bool out_ended = false;       // nothing comes behind `out`
  bool deferred = false;        // the session waits for more `out`
  bool response_ended = false;  // END_STREAM is on its way
  HeaderMap out_trailers;

  bool reset_by_us = false;
  bool closed = false;  // no frame of it goes out any more, and none comes in

  // --- The connection's.

  Work work = Work::kNone;
  Http2Stream* ready_next = nullptr;  // of the list of ready ones
  Http2Stream* ready_previous = nullptr;
  MonotonicTime began{};  // the first frame of the head
  MonotonicTime read_deadline = kNoDeadline;
  MonotonicTime write_deadline = kNoDeadline;  // from the handler's begin to the last byte
  std::size_t out_counted = 0;                 // of `out`, in the connection's sum
  bool late = false;                           // the write deadline has passed, and it was reset
  bool waiting = false;                        // its handler waits for `changed`
  std::condition_variable changed;             // body or its end, room in `out`, or closed

  // In kQueued, and behind it.
  MonotonicTime queued_at{};
  MonotonicTime queue_deadline = kNoDeadline;
  QueuePass pass = QueuePass::kNone;
  // While it waits: its connection may end before take_slot() comes.
  std::shared_ptr<Http2Connection> waits_on;

  // As Connection's: made when the handler asks for its token.
  std::optional<std::stop_source> stop_source;
  bool stop_requested = false;

  // --- What the peer and the handler have left to do.
  std::size_t out_bytes() const { return out.size() - out_sent; }
  std::size_t unread_bytes() const { return body.size() - body_read; }
};

}  // namespace vigil::http
