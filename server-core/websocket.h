// WebSocket (RFC 6455) on a hijacked connection: messages, in both directions, until one side closes.
//
//   void chat(ResponseWriter& response, Request& request) {
//     Result<WebSocket> socket = upgrade_websocket(response, request, {.ping_interval = 20s});
//     if (!socket) return;                               // it has been answered
//     while (auto message = socket->read_message()) {
//       if (!socket->send(message->kind, message->data)) return;
//     }
//   }                                                    // its end says goodbye and closes
//
// A handler is an ordinary function on a thread of its own, for as long as it talks. Its task is
// marked as streaming (leakwatch::Task::stream): the watchdog does not mind its age, but flags it
// when it neither reads nor writes for WebSocketOptions::stalled_after. Waiting for the peer's next
// message is no stall; waiting for the rest of one, or for the peer to take what is sent, is.
//
// When the server goes down, each WebSocket sends 1001 (between two frames, never inside one) and
// sends nothing more; reading goes on until the peer has answered, then gives `closed`. What has not
// ended by the shutdown's deadline is cut.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "server-core/request.h"
#include "server-core/response_writer.h"
#include "server-core/websocket_frames.h"

namespace vigil::http {

struct WebSocketOptions {
  // What the server speaks, best first; the first one that the client offers is chosen. A client
  // that offers none of them gets none, and may go away.
  std::vector<std::string> subprotocols;

  // Whether a browser's page of that Origin may connect; 403 if not. Empty: only pages of the host
  // that is asked for, and whatever sends no Origin (is_same_origin).
  std::function<bool(const Request&)> allow_origin;

  // The largest message, whole or in fragments. A longer one is refused at the head of the frame
  // that goes beyond, with 1009, before any of that frame is kept.
  std::uint64_t message_bytes_max = 1024 * 1024;

  // For what is sent without a deadline of its own: the 101, pongs, close frames, kWriteTimeout.
  Duration write_timeout = std::chrono::seconds(10);
  // How long the end waits for the peer's close frame before it cuts.
  Duration close_timeout = std::chrono::seconds(5);

  // With nothing received for `ping_interval`, the reading call sends a ping, and with nothing for
  // `pong_timeout` after it, the peer counts as gone. Zero: no pings, and a peer that vanished
  // without a trace is waited for until the read's deadline.
  Duration ping_interval{0};
  Duration pong_timeout = std::chrono::seconds(10);

  // The watchdog's threshold for this handler, see above.
  Duration stalled_after = std::chrono::seconds(30);
};

struct WebSocketMessage {
  MessageKind kind = MessageKind::kText;
  std::string data;  // valid UTF-8 if it is text
};

struct CloseStatus {
  CloseCode code = CloseCode::kNoStatus;
  std::string reason;
};

// Stands for "now, and WebSocketOptions::write_timeout from it".
inline constexpr MonotonicTime kWriteTimeout = MonotonicTime::min();

class WebSocketMessageWriter;

// Movable. One thread reads: read_message(), next_message(), read(), close(), the destructor. Any
// thread sends; whole frames come out, and one message after the other. Must not outlive the task
// registry of the handler that made it (an agent's lives to the end).
//
// Idle it holds about 9 KiB, and its handler's thread.
//
// Reading gives, and sending may give:
//   deadline_exceeded    nothing lost: the call may be repeated, and goes on where it was
//   closed               the conversation is over: the peer has closed it (peer_close()), or is gone
//                        or silent, or the server was forced down
//   invalid_argument     the peer broke the protocol, or sent text that is not UTF-8: it was told so
//                        with 1002 or 1007, and the connection is over
//   resource_exhausted   its message is too big: the same with 1009
// After an error other than deadline_exceeded every read gives it again.
class WebSocket {
 public:
  WebSocket(WebSocket&&) noexcept;
  WebSocket& operator=(WebSocket&&) noexcept;
  // close() with 1000, or with 1011 while an exception is on its way; waits for the peer's answer up
  // to close_timeout.
  ~WebSocket();

  // The next message, whole. In the middle of one that next_message() began: the rest of it.
  // Answers pings and close frames meanwhile.
  Result<WebSocketMessage> read_message(MonotonicTime deadline = kNoDeadline);

  // Piecewise: the next message's kind, skipping what is left of the one before; then its bytes, at
  // least one, 0 at its end. Text may be cut within a character; that it is not UTF-8 may show only
  // after some of it has been given out.
  Result<MessageKind> next_message(MonotonicTime deadline = kNoDeadline);
  Result<std::size_t> read(std::span<char> into, MonotonicTime deadline = kNoDeadline);

  // Sends one message. Also gives:
  //   invalid_argument     `text` is not UTF-8: nothing was sent
  //   deadline_exceeded    the peer takes too little: part of a frame may be out, so the connection
  //                        is over; unless another thread's message was in the way
  Result<void> send_text(std::string_view text, MonotonicTime deadline = kWriteTimeout);
  Result<void> send_binary(std::string_view data, MonotonicTime deadline = kWriteTimeout);
  Result<void> send(MessageKind kind, std::string_view data,
                    MonotonicTime deadline = kWriteTimeout);
  // A message in fragments; other threads' messages wait until it is finished.
  Result<WebSocketMessageWriter> begin_message(MessageKind kind,
                                               MonotonicTime deadline = kWriteTimeout);
  // `payload`: at most 125 bytes, else invalid_argument.
  Result<void> ping(std::string_view payload = {}, MonotonicTime deadline = kWriteTimeout);

  // Says that this side is done, from any thread: nothing more can be sent, and the reading thread
  // goes on until the peer has answered. invalid_argument: a code that may not be sent, such as
  // 1005. The reason is cut to 123 bytes.
  Result<void> send_close(CloseCode code, std::string_view reason = {},
                          MonotonicTime deadline = kWriteTimeout);
  // The same, then waits for the peer's close frame, throwing away what comes before it; cuts the
  // connection at the deadline (kWriteTimeout: close_timeout from now).
  Result<void> close(CloseCode code = CloseCode::kNormal, std::string_view reason = {},
                     MonotonicTime deadline = kWriteTimeout);

  // What the peer's close frame said, once read.
  const std::optional<CloseStatus>& peer_close() const;
  const std::string& subprotocol() const;  // empty: none
  const HostPort& remote_address() const;
  // Stopped when the server goes down; the 1001 is sent without the handler's doing.
  std::stop_token stop_token() const;

 private:
  friend Result<WebSocket> upgrade_websocket(ResponseWriter&, Request&, const WebSocketOptions&);
  class Conversation;
  explicit WebSocket(std::unique_ptr<Conversation> conversation);

  std::unique_ptr<Conversation> conversation_;
};

// A message that is sent piece by piece, on one thread. Must not outlive its WebSocket.
class WebSocketMessageWriter {
 public:
  WebSocketMessageWriter(WebSocketMessageWriter&& other) noexcept;
  WebSocketMessageWriter& operator=(WebSocketMessageWriter&&) = delete;
  // Without finish() the message has no end, and nothing can follow: the peer is told 1011.
  ~WebSocketMessageWriter();

  // Sends a fragment. Errors as WebSocket::send_text(), which end the message; a character may be
  // cut between two fragments, and so text that is not UTF-8 may show only in a later one.
  Result<void> write(std::string_view piece, MonotonicTime deadline = kWriteTimeout);
  // Sends the last fragment.
  Result<void> finish(std::string_view last = {}, MonotonicTime deadline = kWriteTimeout);

 private:
  friend class WebSocket;
  class Sending;
  explicit WebSocketMessageWriter(std::unique_ptr<Sending> sending);
  std::unique_ptr<Sending> sending_;
};

// Opens the conversation that `request` asks for. Fields that the handler has set in
// response.headers() (a cookie, say) go out with the 101. Refused, or failed, it has answered:
//   invalid_argument    the request does not open a WebSocket (400, 405, 426, 505), see
//                       judge_websocket_request()
//   permission_denied   its Origin is not allowed (403)
//   unsupported         it came over HTTP/2, or the writer cannot be hijacked, as under a handler
//                       timeout (501)
//   others              as ResponseWriter::hijack() (503), or the peer was gone before its 101
// Call it on the handler's thread, before anything is written.
Result<WebSocket> upgrade_websocket(ResponseWriter& response, Request& request,
                                    const WebSocketOptions& options = {});

}  // namespace vigil::http
