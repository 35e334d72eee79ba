#include "server-core/websocket.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "server-core/websocket_conversation.h"
#include "server-core/websocket_handshake.h"

namespace vigil::http {
namespace {

constexpr std::size_t kControlBytesMax = 125;

MonotonicTime now() { return SystemClock().now(); }

MonotonicTime resolved(MonotonicTime deadline, Duration timeout) {
  return deadline == kWriteTimeout ? now() + timeout : deadline;
}

Error not_utf8() { return Error(ErrorCode::kInvalidArgument, "the text is not UTF-8"); }

}  // namespace

// --- The face.

WebSocket::WebSocket(std::unique_ptr<Conversation> conversation)
    : conversation_(std::move(conversation)) {}
WebSocket::WebSocket(WebSocket&&) noexcept = default;
WebSocket& WebSocket::operator=(WebSocket&&) noexcept = default;
WebSocket::~WebSocket() = default;

Result<WebSocketMessage> WebSocket::read_message(MonotonicTime deadline) {
  return conversation_->read_message(deadline);
}

Result<MessageKind> WebSocket::next_message(MonotonicTime deadline) {
  return conversation_->next_message(deadline);
}

Result<std::size_t> WebSocket::read(std::span<char> into, MonotonicTime deadline) {
  return conversation_->read(into, deadline);
}

Result<void> WebSocket::send_text(std::string_view text, MonotonicTime deadline) {
  return send(MessageKind::kText, text, deadline);
}

Result<void> WebSocket::send_binary(std::string_view data, MonotonicTime deadline) {
  return send(MessageKind::kBinary, data, deadline);
}

Result<void> WebSocket::send(MessageKind kind, std::string_view data, MonotonicTime deadline) {
  if (kind == MessageKind::kText) {
    Utf8Checker checker;
    if (!checker.add(data) || !checker.complete()) return not_utf8();
  }
  deadline = resolved(deadline, conversation_->options().write_timeout);
  return conversation_->sender().send_message(kind, data, deadline);
}

Result<void> WebSocket::ping(std::string_view payload, MonotonicTime deadline) {
  if (payload.size() > kControlBytesMax) {
    return Error(ErrorCode::kInvalidArgument, "a ping carries 125 bytes at most");
  }
  deadline = resolved(deadline, conversation_->options().write_timeout);
  return conversation_->sender().send_control(WebSocketOpcode::kPing, payload, deadline);
}

Result<void> WebSocket::send_close(CloseCode code, std::string_view reason,
                                   MonotonicTime deadline) {
  if (!may_be_sent(code)) {
    return Error(ErrorCode::kInvalidArgument, "this code may not stand in a close frame");
  }
  deadline = resolved(deadline, conversation_->options().write_timeout);
  return conversation_->sender().send_close(code, reason, deadline);
}

Result<void> WebSocket::close(CloseCode code, std::string_view reason, MonotonicTime deadline) {
  if (!may_be_sent(code)) {
    return Error(ErrorCode::kInvalidArgument, "this code may not stand in a close frame");
  }
  deadline = resolved(deadline, conversation_->options().close_timeout);
  return conversation_->close(code, reason, deadline);
}

const std::optional<CloseStatus>& WebSocket::peer_close() const {
  return conversation_->peer_close();
}
const std::string& WebSocket::subprotocol() const { return conversation_->subprotocol(); }
const HostPort& WebSocket::remote_address() const {
  return conversation_->connection().remote_address();
}
std::stop_token WebSocket::stop_token() const { return conversation_->connection().stop_token(); }

// --- A message in fragments.

class WebSocketMessageWriter::Sending {
 public:
  Sending(WebSocketSender& sender, MessageKind kind, Duration timeout)
      : sender_(sender),
        kind_(kind),
        timeout_(timeout),
        opcode_(kind == MessageKind::kText ? WebSocketOpcode::kText : WebSocketOpcode::kBinary) {}
  ~Sending() {
    if (!finished_) {
      (void)sender_.send_close(CloseCode::kInternalError, "a message was not finished",
                               now() + timeout_);
    }
  }

  Result<void> send(Fragment fragment, std::string_view data, MonotonicTime deadline) {
    if (finished_) return Error(ErrorCode::kInvalidArgument, "the message is finished");
    const bool last = fragment == Fragment::kLast;
    if (kind_ == MessageKind::kText && (!utf8_.add(data) || (last && !utf8_.complete()))) {
      return not_utf8();
    }
    if (data.empty() && !last) return {};
    finished_ = last;
    return sender_.send_fragment(std::exchange(opcode_, WebSocketOpcode::kContinuation), fragment,
                                 data, resolved(deadline, timeout_));
  }

 private:
  WebSocketSender& sender_;
  const MessageKind kind_;
  const Duration timeout_;
  WebSocketOpcode opcode_;  // of the next fragment
  Utf8Checker utf8_;
  bool finished_ = false;
};

WebSocketMessageWriter::WebSocketMessageWriter(std::unique_ptr<Sending> sending)
    : sending_(std::move(sending)) {}
WebSocketMessageWriter::WebSocketMessageWriter(WebSocketMessageWriter&&) noexcept = default;
WebSocketMessageWriter::~WebSocketMessageWriter() = default;

Result<void> WebSocketMessageWriter::write(std::string_view piece, MonotonicTime deadline) {
  return sending_->send(Fragment::kMore, piece, deadline);
}

Result<void> WebSocketMessageWriter::finish(std::string_view last, MonotonicTime deadline) {
  return sending_->send(Fragment::kLast, last, deadline);
}

Result<WebSocketMessageWriter> WebSocket::begin_message(MessageKind kind, MonotonicTime deadline) {
  const Duration timeout = conversation_->options().write_timeout;
  WebSocketSender& sender = conversation_->sender();
  if (auto begun = sender.begin_message(resolved(deadline, timeout)); !begun) {
    return std::move(begun).error();
  }
  return WebSocketMessageWriter(
      std::make_unique<WebSocketMessageWriter::Sending>(sender, kind, timeout));
}

// --- Opening.

namespace {

// Whether the 101 has that field from us, or must not have it.
bool is_ours(std::string_view name) {
  constexpr std::string_view kOurs[] = {"Connection",
                                        "Upgrade",
                                        "Content-Length",
                                        "Content-Type",
                                        "Transfer-Encoding",
                                        "Sec-WebSocket-Accept",
                                        "Trailer",
                                        "Sec-WebSocket-Protocol",
                                        "Date",
                                        "Sec-WebSocket-Extensions"};
  return std::any_of(std::begin(kOurs), std::end(kOurs),
                     [&](std::string_view ours) { return equals_ignoring_case(name, ours); });
}

std::string switching_protocols(const WebSocketHandshake& handshake, const HeaderMap& fields) {
  std::string head =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: " +
      handshake.accept + "\r\n";
  if (!handshake.subprotocol.empty()) {
    head += "Sec-WebSocket-Protocol: " + handshake.subprotocol + "\r\n";
  }
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const HeaderField field = fields.at(i);
    if (is_ours(field.name)) continue;
    head.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  return head + "\r\n";
}

Error refuse(ResponseWriter& response, const WebSocketHandshake& handshake) {
  if (handshake.refusal == 405) response.headers().set("Allow", "GET");
  if (handshake.refusal == 426) {
    response.headers().set("Upgrade", "websocket");
    response.headers().set("Sec-WebSocket-Version", "13");
  }
  write_error(response, handshake.refusal, handshake.why);
  const auto code = handshake.refusal == 403   ? ErrorCode::kPermissionDenied
                    : handshake.refusal == 501 ? ErrorCode::kUnsupported
                                               : ErrorCode::kInvalidArgument;
  return Error(code, handshake.why);
}

}  // namespace

Result<WebSocket> upgrade_websocket(ResponseWriter& response, Request& request,
                                    const WebSocketOptions& options) {
  WebSocketHandshake handshake =
      judge_websocket_request(request, options.subprotocols, options.allow_origin);
  if (handshake.refusal != 0) return refuse(response, handshake);
  const std::string head = switching_protocols(handshake, response.headers());
  Result<HijackedConnection> connection = response.hijack();
  if (!connection) {
    const bool unsupported = connection.error().code() == ErrorCode::kUnsupported;
    write_error(response, unsupported ? 501 : 503, "no WebSocket here");
    return std::move(connection).error().with_context("opening a WebSocket");
  }
  if (auto sent = connection->write(head, now() + options.write_timeout); !sent) {
    return std::move(sent).error().with_context("opening a WebSocket");
  }
  return WebSocket(std::make_unique<WebSocket::Conversation>(std::move(*connection), options,
                                                             std::move(handshake.subprotocol)));
}

}  // namespace vigil::http
