#include "server-core/websocket_frames.h"

#include <wslay/wslay.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace vigil::http {
namespace {

using Type = WebSocketEvent::Type;

constexpr std::size_t kControlBytesMax = 125;                  // RFC 6455 §5.5
constexpr std::size_t kReasonBytesMax = kControlBytesMax - 2;  // behind the code

bool is_known(std::uint8_t opcode) { return opcode <= 2 || (opcode >= 8 && opcode <= 10); }
bool is_control(std::uint8_t opcode) { return (opcode & 8) != 0; }

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

bool is_utf8(std::string_view text) {
  Utf8Checker checker;
  return checker.add(text) && checker.complete();
}

}  // namespace

bool may_be_sent(CloseCode code) {
  const auto number = static_cast<std::uint16_t>(code);
  return (number >= 1000 && number <= 1003) || (number >= 1007 && number <= 1014) ||
         (number >= 3000 && number <= 4999);
}

// --- UTF-8. The bounds of the second byte keep overlong forms, surrogates and what is above
// U+10FFFF out (the table in RFC 3629 §4).

bool Utf8Checker::add_first(unsigned char byte) {
  low_ = 0x80;
  high_ = 0xBF;
  if (byte < 0x80) return true;
  if (byte < 0xC2 || byte > 0xF4) return false;
  missing_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  if (byte == 0xE0) low_ = 0xA0;
  if (byte == 0xED) high_ = 0x9F;
  if (byte == 0xF0) low_ = 0x90;
  if (byte == 0xF4) high_ = 0x8F;
  return true;
}

bool Utf8Checker::add(std::string_view bytes) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (missing_ == 0) {
      if (!add_first(byte)) return false;
      continue;
    }
    if (byte < low_ || byte > high_) return false;
    low_ = 0x80;
    high_ = 0xBF;
    --missing_;
  }
  return true;
}

// --- Reading.

struct WebSocketFrameReader::State {
  explicit State(std::uint64_t limit) : message_bytes_max(limit) {
    const wslay_frame_callbacks callbacks{nullptr, &State::receive, nullptr};
    if (wslay_frame_context_init(&context, &callbacks, this) != 0) throw std::bad_alloc();
  }
  ~State() { wslay_frame_context_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // wslay's source of bytes: what was fed.
  static ssize_t receive(std::uint8_t* into, std::size_t size, int, void* user) {
    auto& self = *static_cast<State*>(user);
    const std::size_t taken = std::min(size, self.input.size());
    if (taken == 0) return -1;
    std::memcpy(into, self.input.data(), taken);
    self.input.remove_prefix(taken);
    return static_cast<ssize_t>(taken);
  }

  WebSocketEvent next();
  WebSocketEvent fail(CloseCode code, std::string_view why) {
    last = {.type = Type::kFailed, .code = code, .data = why};
    over = true;
    return last;
  }
  // Judges a frame by its head. False, and `last` is the failure, if it is refused.
  bool accept_head();
  // Takes the piece of a frame that wslay has given. True if there is an event for it now.
  bool take_piece(WebSocketEvent& event);
  bool take_data_piece(WebSocketEvent& event);
  WebSocketEvent close_event();

  wslay_frame_context_ptr context = nullptr;
  std::string_view input;
  const std::uint64_t message_bytes_max;

  wslay_frame_iocb frame{};         // the piece that wslay gave last
  bool at_head = true;              // the next piece begins a frame
  std::uint64_t frame_left = 0;     // bytes of the frame that have not come
  bool in_message = false;          // a data frame without its last fragment
  MessageKind kind{};               // of the message
  std::uint64_t message_bytes = 0;  // announced so far
  Utf8Checker utf8;
  std::string control;  // of a control frame, so far

  // Events that the last piece gives, in this order.
  bool begin_due = false;
  bool data_due = false;
  bool end_due = false;

  bool over = false;
  WebSocketEvent last;  // once over
};

bool WebSocketFrameReader::State::accept_head() {
  const auto refuse = [&](CloseCode code, std::string_view why) {
    (void)fail(code, why);
    return false;
  };
  constexpr CloseCode kBroken = CloseCode::kProtocolError;
  if (frame.rsv != 0) return refuse(kBroken, "reserved bits are set");         // §5.2
  if (!is_known(frame.opcode)) return refuse(kBroken, "reserved opcode");      // §5.2
  if (!frame.mask) return refuse(kBroken, "a client's frame must be masked");  // §5.1
  frame_left = frame.payload_length;
  if (is_control(frame.opcode)) {
    control.clear();
    return true;
  }
  const bool continues = frame.opcode == static_cast<std::uint8_t>(WebSocketOpcode::kContinuation);
  if (continues && !in_message) return refuse(kBroken, "nothing to continue");             // §5.4
  if (!continues && in_message) return refuse(kBroken, "the last message has not ended");  // §5.4
  if (!continues) {
    kind = frame.opcode == static_cast<std::uint8_t>(WebSocketOpcode::kText) ? MessageKind::kText
                                                                             : MessageKind::kBinary;
    message_bytes = 0;
    utf8 = Utf8Checker();
    in_message = begin_due = true;
  }
  if (frame.payload_length > message_bytes_max - message_bytes) {
    begin_due = false;
    return refuse(CloseCode::kMessageTooBig, "the message is too big");
  }
  message_bytes += frame.payload_length;
  return true;
}

WebSocketEvent WebSocketFrameReader::State::close_event() {
  over = true;
  last = {.type = Type::kClose, .code = CloseCode::kNoStatus};
  if (control.empty()) return last;
  if (control.size() == 1) return fail(CloseCode::kProtocolError, "half a close code");  // §5.5.1
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(control[i]); };
  last.code = CloseCode{static_cast<std::uint16_t>(byte(0) << 8 | byte(1))};
  if (!may_be_sent(last.code)) return fail(CloseCode::kProtocolError, "invalid close code");
  last.data = std::string_view(control).substr(2);
  if (!is_utf8(last.data)) return fail(CloseCode::kInvalidData, "the reason is not UTF-8");
  return last;
}

bool WebSocketFrameReader::State::take_data_piece(WebSocketEvent& event) {
  const std::string_view bytes(reinterpret_cast<const char*>(frame.data), frame.data_length);
  const bool ends = frame_left == 0 && frame.fin;
  if (kind == MessageKind::kText && (!utf8.add(bytes) || (ends && !utf8.complete()))) {
    begin_due = false;
    event = fail(CloseCode::kInvalidData, "the text is not UTF-8");  // §8.1
    return true;
  }
  data_due = !bytes.empty();
  end_due = ends;
  return false;
}

bool WebSocketFrameReader::State::take_piece(WebSocketEvent& event) {
  if (at_head && !accept_head()) {
    event = last;
    return true;
  }
  frame_left -= frame.data_length;
  at_head = frame_left == 0;
  if (!is_control(frame.opcode)) return take_data_piece(event);
  control.append(reinterpret_cast<const char*>(frame.data), frame.data_length);
  if (frame_left > 0) return false;
  switch (WebSocketOpcode{frame.opcode}) {
    case WebSocketOpcode::kPing:
      event = {.type = Type::kPing, .data = control};
      break;
    case WebSocketOpcode::kPong:
      event = {.type = Type::kPong, .data = control};
      break;
    default:
      event = close_event();
  }
  return true;
}

WebSocketEvent WebSocketFrameReader::State::next() {
  while (!over) {
    if (std::exchange(begin_due, false)) return {.type = Type::kBegin, .kind = kind};
    if (std::exchange(data_due, false)) {
      const std::string_view bytes(reinterpret_cast<const char*>(frame.data), frame.data_length);
      return {.type = Type::kData, .kind = kind, .data = bytes};
    }
    if (std::exchange(end_due, false)) {
      in_message = false;
      return {.type = Type::kEnd, .kind = kind};
    }
    const ssize_t got = wslay_frame_recv(context, &frame);
    if (got == WSLAY_ERR_WANT_READ) {
      // It reads at most once a call, and a head may be cut: only without input it is out of it.
      if (input.empty()) return {.type = Type::kNeedInput};
      continue;
    }
    // A fragmented or oversized control frame, or a length not in its shortest form (§5.2, §5.5).
    if (got < 0) return fail(CloseCode::kProtocolError, "malformed frame");
    WebSocketEvent event;
    if (take_piece(event)) return event;
  }
  return last;
}

WebSocketFrameReader::WebSocketFrameReader(std::uint64_t message_bytes_max)
    : state_(std::make_unique<State>(message_bytes_max)) {}
WebSocketFrameReader::~WebSocketFrameReader() = default;
WebSocketFrameReader::WebSocketFrameReader(WebSocketFrameReader&&) noexcept = default;
WebSocketFrameReader& WebSocketFrameReader::operator=(WebSocketFrameReader&&) noexcept = default;

void WebSocketFrameReader::feed(std::string_view bytes) { state_->input = bytes; }
WebSocketEvent WebSocketFrameReader::next() { return state_->next(); }
bool WebSocketFrameReader::in_message() const { return state_->in_message; }

// --- Writing.

std::string websocket_frame_head(WebSocketOpcode opcode, Fragment fragment,
                                 std::uint64_t payload_bytes) {
  constexpr unsigned kFin = 0x80;
  const unsigned fin = fragment == Fragment::kLast ? kFin : 0;
  std::string head(1, static_cast<char>(fin | static_cast<unsigned>(opcode)));
  int length_bytes = 0;
  if (payload_bytes <= 125) {
    head += static_cast<char>(payload_bytes);
  } else if (payload_bytes <= 0xFFFF) {
    head += static_cast<char>(126);
    length_bytes = 2;
  } else {
    head += static_cast<char>(127);
    length_bytes = 8;
  }
  for (int i = length_bytes - 1; i >= 0; --i) {
    head += static_cast<char>(payload_bytes >> (8 * i) & 0xFF);
  }
  return head;
}

std::string websocket_close_frame(CloseCode code, std::string_view reason) {
  if (!may_be_sent(code)) return websocket_frame_head(WebSocketOpcode::kClose, Fragment::kLast, 0);
  if (reason.size() > kReasonBytesMax) {
    std::size_t end = kReasonBytesMax;
    while (end > 0 && is_continuation(static_cast<unsigned char>(reason[end]))) --end;
    reason = reason.substr(0, end);
  }
  if (!is_utf8(reason)) reason = {};
  std::string frame =
      websocket_frame_head(WebSocketOpcode::kClose, Fragment::kLast, reason.size() + 2);
  const auto number = static_cast<std::uint16_t>(code);
  frame += static_cast<char>(number >> 8);
  frame += static_cast<char>(number & 0xFF);
  frame += reason;
  return frame;
}

}  // namespace vigil::http
