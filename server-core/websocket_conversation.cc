#include "server-core/websocket_conversation.h"

#include <sys/socket.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace vigil::http {
namespace {

using Type = WebSocketEvent::Type;

MonotonicTime now() { return SystemClock().now(); }

std::string describe(const CloseStatus& status) {
  std::string text = "the peer closed the WebSocket";
  if (status.code != CloseCode::kNoStatus) {
    text += ": " + std::to_string(static_cast<int>(status.code));
  }
  if (!status.reason.empty()) text += " " + status.reason;
  return text;
}

}  // namespace

WebSocket::Conversation::Conversation(HijackedConnection connection,
                                      const WebSocketOptions& options, std::string subprotocol)
    : options_(options),
      subprotocol_(std::move(subprotocol)),
      counters_(connection.websocket_counters()),
      exceptions_(std::uncaught_exceptions()),
      progress_(leakwatch::Task::stream(options.stalled_after)),
      sender_(connection_, progress_, *counters_, options.write_timeout),
      frames_(options.message_bytes_max),
      keep_alive_(options.ping_interval, options.pong_timeout, now()),
      connection_(std::move(connection)) {
  counters_->opened();
  connection_.on_shutdown([this] { sender_.goodbye(); });
}

WebSocket::Conversation::~Conversation() {
  if (!ended_) {
    const bool thrown = std::uncaught_exceptions() > exceptions_;
    (void)close(thrown ? CloseCode::kInternalError : CloseCode::kNormal, {},
                now() + options_.close_timeout);
  }
  counters_->closed(sender_.sent_close().value_or(CloseCode::kAbnormal));
}

Result<WebSocketEvent> WebSocket::Conversation::next_event(MonotonicTime deadline) {
  while (!ended_) {
    const WebSocketEvent event = frames_.next();
    switch (event.type) {
      case Type::kNeedInput:
        if (auto received = receive(deadline); !received) return std::move(received).error();
        break;
      case Type::kPing:  // it may have been in vain, behind our close frame (RFC 6455 §5.5.2)
        (void)sender_.send_control(WebSocketOpcode::kPong, event.data,
                                   now() + options_.write_timeout);
        break;
      case Type::kPong:
        break;  // that something came is all that matters
      case Type::kClose:
        answer_close(event);
        break;
      case Type::kFailed:
        refuse(event);
        break;
      case Type::kBegin:
      case Type::kData:
      case Type::kEnd:
        return event;
    }
  }
  return *ended_;
}

Result<void> WebSocket::Conversation::receive(MonotonicTime deadline) {
  while (true) {
    sender_.send_due();
    if (!frames_.in_message()) progress_.reader_waits();
    const Result<std::size_t> got =
        connection_.read(input_, std::min(deadline, keep_alive_.next()));
    progress_.reader_goes_on();
    if (got && *got == 0) return lose("the peer went away without a close frame");
    if (got) {
      if (keep_alive_.on()) keep_alive_.heard(now());
      frames_.feed({input_.data(), *got});
      return {};
    }
    if (got.error().code() != ErrorCode::kDeadlineExceeded) return lose(got.error().message());
    const MonotonicTime at = now();
    if (at >= keep_alive_.next()) {
      if (auto alive = ask_whether_alive(at); !alive) return alive;
    }
    if (at >= deadline) return got.error();
  }
}

Result<void> WebSocket::Conversation::ask_whether_alive(MonotonicTime at) {
  if (keep_alive_.pinged()) return lose("the peer does not answer pings");
  // Refused behind our close frame; what is waited for then is the peer's.
  (void)sender_.send_control(WebSocketOpcode::kPing, {}, at + options_.write_timeout);
  keep_alive_.ping_sent(now());
  return {};
}

// The connection is of no use any more; what the conversation ends with.
Error WebSocket::Conversation::lose(std::string why) {
  ended_ = Error(ErrorCode::kClosed, std::move(why));
  ::shutdown(connection_.fd(), SHUT_RDWR);
  return *ended_;
}

// Both sides have said it then: the server closes (RFC 6455 §7.1.1).
void WebSocket::Conversation::answer_close(const WebSocketEvent& event) {
  peer_close_ = CloseStatus{event.code, std::string(event.data)};
  (void)sender_.send_close(event.code, event.data, now() + options_.write_timeout);
  ended_ = Error(ErrorCode::kClosed, describe(*peer_close_));
  ::shutdown(connection_.fd(), SHUT_WR);
}

void WebSocket::Conversation::refuse(const WebSocketEvent& event) {
  const auto code = event.code == CloseCode::kMessageTooBig ? ErrorCode::kResourceExhausted
                                                            : ErrorCode::kInvalidArgument;
  ended_ = Error(code, "the peer's frames were refused: " + std::string(event.data));
  (void)sender_.send_close(event.code, event.data, now() + options_.write_timeout);
  whole_ = {};
  linger();
}

// Closing with bytes unread would reset the connection, and the peer might never see why.
void WebSocket::Conversation::linger() {
  ::shutdown(connection_.fd(), SHUT_WR);
  const MonotonicTime deadline = now() + options_.close_timeout;
  while (true) {
    const Result<std::size_t> got = connection_.read(input_, deadline);
    if (!got || *got == 0 || now() >= deadline) return;
  }
}

Result<MessageKind> WebSocket::Conversation::next_message(MonotonicTime deadline) {
  piece_ = {};
  whole_.clear();
  while (true) {
    const Result<WebSocketEvent> event = next_event(deadline);
    if (!event) return event.error();
    if (event->type == Type::kEnd) message_ended();
    if (event->type != Type::kBegin) continue;
    reading_ = true;
    kind_ = event->kind;
    return kind_;
  }
}

Result<std::size_t> WebSocket::Conversation::read(std::span<char> into, MonotonicTime deadline) {
  while (piece_.empty()) {
    if (!reading_) return std::size_t{0};
    const Result<WebSocketEvent> event = next_event(deadline);
    if (!event) return event.error();
    if (event->type == Type::kEnd) message_ended();
    if (event->type == Type::kData) piece_ = event->data;
  }
  const std::size_t size = std::min(into.size(), piece_.size());
  std::copy_n(piece_.begin(), size, into.begin());
  piece_.remove_prefix(size);
  return size;
}

Result<WebSocketMessage> WebSocket::Conversation::read_message(MonotonicTime deadline) {
  if (!reading_) {
    if (auto begun = next_message(deadline); !begun) return std::move(begun).error();
  }
  whole_.append(std::exchange(piece_, {}));
  while (true) {
    const Result<WebSocketEvent> event = next_event(deadline);
    if (!event) return event.error();
    if (event->type == Type::kEnd) break;
    whole_.append(event->data);
  }
  message_ended();
  return WebSocketMessage{kind_, std::exchange(whole_, {})};
}

Result<void> WebSocket::Conversation::close(CloseCode code, std::string_view reason,
                                            MonotonicTime deadline) {
  if (!ended_) {
    if (auto sent = sender_.send_close(code, reason, deadline); !sent) {
      (void)lose(sent.error().message());
      return sent;
    }
  }
  while (!ended_) {
    const Result<WebSocketEvent> event = next_event(deadline);
    if (!event && event.error().code() == ErrorCode::kDeadlineExceeded) {
      (void)lose("the peer did not answer the close frame");
      return event.error();
    }
  }
  if (peer_close_) return {};
  return *ended_;
}

}  // namespace vigil::http
