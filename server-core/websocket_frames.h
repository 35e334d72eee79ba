// WebSocket's frames (RFC 6455 §5), as a server reads and writes them: what came in becomes a row of
// events, one at a time. Pure: no I/O, no clock, no threads.
//
//   WebSocketFrameReader reader(1 << 20);
//   reader.feed(bytes);
//   for (auto event = reader.next(); event.type != WebSocketEvent::Type::kNeedInput; …) …
//
// wslay splits the stream into frames and unmasks it; everything that it lets through is checked
// here: masking, reserved bits and opcodes, the order of fragments, sizes, UTF-8, close codes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct wslay_frame_context;

namespace vigil::http {

enum class MessageKind : std::uint8_t { kText, kBinary };

enum class WebSocketOpcode : std::uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10,
};

// RFC 6455 §7.4.1. A peer may send any of 1000 to 1003, 1007 to 1014 and 3000 to 4999.
enum class CloseCode : std::uint16_t {
  kNormal = 1000,
  kGoingAway = 1001,
  kProtocolError = 1002,
  kUnsupportedData = 1003,
  kNoStatus = 1005,  // never sent: a close frame without a code
  kAbnormal = 1006,  // never sent: the connection ended without a close frame
  kInvalidData = 1007,
  kPolicyViolation = 1008,
  kMessageTooBig = 1009,
  kInternalError = 1011,
};

// Whether the code may stand in a close frame (RFC 6455 §7.4, and the codes registered since).
bool may_be_sent(CloseCode code);

// Whether bytes that come in pieces are UTF-8: no overlong form, no surrogate, nothing above
// U+10FFFF (RFC 3629). Says so at the first byte that cannot belong to any.
class Utf8Checker {
 public:
  // false once what has come is no beginning of a UTF-8 text.
  bool add(std::string_view bytes);
  // Whether the text may end here.
  bool complete() const { return missing_ == 0; }

 private:
  bool add_first(unsigned char byte);

  int missing_ = 0;           // continuation bytes that must follow
  unsigned char low_ = 0x80;  // the next one's bounds
  unsigned char high_ = 0xBF;
};

struct WebSocketEvent {
  enum class Type : std::uint8_t {
    kNeedInput,  // all that was fed is used up
    kBegin,      // a message of `kind`
    kData,       // `data` of it; never empty
    kEnd,        // it is whole, and if it is text, it is UTF-8
    kPing,       // with `data`; may come inside a message, as may the next two
    kPong,
    kClose,   // by the peer, with `code` (kNoStatus without one) and `data`, the reason
    kFailed,  // the peer broke the protocol: answer `code`; `data` says what, for the reason
  };
  Type type = Type::kNeedInput;
  MessageKind kind = MessageKind::kText;
  CloseCode code = CloseCode::kNoStatus;
  std::string_view data;  // valid until the next call of next()
};

// Not thread-safe. Movable. Holds 4 KiB, whatever the size of frames and messages: a frame is
// refused by its head, before any of its payload is given out.
class WebSocketFrameReader {
 public:
  // `message_bytes_max`: a message beyond it, in one frame or many, fails with kMessageTooBig at the
  // head of the frame that goes beyond.
  explicit WebSocketFrameReader(std::uint64_t message_bytes_max);
  ~WebSocketFrameReader();
  WebSocketFrameReader(WebSocketFrameReader&&) noexcept;
  WebSocketFrameReader& operator=(WebSocketFrameReader&&) noexcept;

  // More of the stream, after kNeedInput. Borrowed until kNeedInput comes again.
  void feed(std::string_view bytes);
  // kClose and kFailed are the last: further calls give the same again.
  //
  // A head is judged when it is whole and the first byte of its payload, if it has one, is there:
  // wslay does not give it out before.
  WebSocketEvent next();

  // Whether a message has begun and not ended.
  bool in_message() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

enum class Fragment : std::uint8_t { kMore, kLast };

// The head of an unmasked frame. wslay is not used for it: a context of its own would cost every
// connection another 4 KiB, for twelve lines.
std::string websocket_frame_head(WebSocketOpcode opcode, Fragment fragment,
                                 std::uint64_t payload_bytes);

// A whole close frame. The reason is cut to the 123 bytes that fit, at a character's border.
std::string websocket_close_frame(CloseCode code, std::string_view reason);

}  // namespace vigil::http
