// The reading half of a WebSocket, and what its two halves share. For websocket.cc.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "server-core/hijack.h"
#include "server-core/websocket.h"
#include "server-core/websocket_counters.h"
#include "server-core/websocket_sender.h"

namespace vigil::http {

// When a silent peer is asked whether it is there, and when it counts as gone. Pure.
class KeepAlive {
 public:
  KeepAlive(Duration interval, Duration timeout, MonotonicTime start)
      : interval_(interval), timeout_(timeout), since_(start) {}
  MonotonicTime next() const {
    if (interval_ == Duration::zero()) return kNoDeadline;
    return since_ + (pinged_ ? timeout_ : interval_);
  }
  bool on() const { return interval_ != Duration::zero(); }
  bool pinged() const { return pinged_; }
  void heard(MonotonicTime at) {
    since_ = at;
    pinged_ = false;
  }
  void ping_sent(MonotonicTime at) {
    since_ = at;
    pinged_ = true;
  }

 private:
  Duration interval_;
  Duration timeout_;
  MonotonicTime since_;
  bool pinged_ = false;
};

// Behind a WebSocket, whose contract it keeps; every deadline is a point in time here.
class WebSocket::Conversation {
 public:
  Conversation(HijackedConnection connection, const WebSocketOptions& options,
               std::string subprotocol);
  ~Conversation();

  Result<MessageKind> next_message(MonotonicTime deadline);
  Result<std::size_t> read(std::span<char> into, MonotonicTime deadline);
  Result<WebSocketMessage> read_message(MonotonicTime deadline);
  Result<void> close(CloseCode code, std::string_view reason, MonotonicTime deadline);

  WebSocketSender& sender() { return sender_; }
  const WebSocketOptions& options() const { return options_; }
  const std::string& subprotocol() const { return subprotocol_; }
  const HijackedConnection& connection() const { return connection_; }
  const std::optional<CloseStatus>& peer_close() const { return peer_close_; }

 private:
  // The next event that belongs to a message: kBegin, kData or kEnd.
  Result<WebSocketEvent> next_event(MonotonicTime deadline);
  Result<void> receive(MonotonicTime deadline);
  Result<void> ask_whether_alive(MonotonicTime at);
  void answer_close(const WebSocketEvent& event);
  void refuse(const WebSocketEvent& event);
  void linger();
  Error lose(std::string why);
  void message_ended() {
    reading_ = false;
    counters_->message_in();
  }

  const WebSocketOptions options_;
  const std::string subprotocol_;
  const std::shared_ptr<WebSocketCounters> counters_;
  const int exceptions_;  // on their way when it began
  WebSocketProgress progress_;
  WebSocketSender sender_;  // of connection_, which it only uses once that is there

  // The reading thread's.
  WebSocketFrameReader frames_;
  std::array<char, 4096> input_;
  KeepAlive keep_alive_;
  bool reading_ = false;    // a message has begun, and its end was not given out
  MessageKind kind_{};      // its kind
  std::string whole_;       // of it, what read_message() has put together
  std::string_view piece_;  // of it, what read() has not given out; in frames_
  std::optional<Error> ended_;
  std::optional<CloseStatus> peer_close_;

  HijackedConnection connection_;  // last: its destructor waits for a goodbye that uses the others
};

}  // namespace vigil::http
