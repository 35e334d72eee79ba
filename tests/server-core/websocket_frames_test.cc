// WebSocket's frames, without a socket: what a stream of bytes becomes, however it is cut.
#include "server-core/websocket_frames.h"

#include "tests/support/catch.h"
#include "tests/support/websocket_frames.h"

using namespace vigil::http;
using namespace vigil::test;

namespace {

using Type = WebSocketEvent::Type;

constexpr std::uint64_t kMessageBytesMax = 2000;

// What the reader makes of `bytes`, fed in pieces of at most `piece`: "T:hello ping:x close:1000:bye".
std::string outcome(std::string_view bytes, std::size_t piece) {
  WebSocketFrameReader reader(kMessageBytesMax);
  std::string text;
  std::size_t begun_at = 0;  // where the last message begins in it
  while (true) {
    const WebSocketEvent event = reader.next();
    switch (event.type) {
      case Type::kNeedInput:
        if (bytes.empty()) return text + (reader.in_message() ? "..." : "");
        reader.feed(bytes.substr(0, piece));
        bytes.remove_prefix(std::min(piece, bytes.size()));
        break;
      case Type::kBegin:
        begun_at = text.size();
        text += event.kind == MessageKind::kText ? "T:" : "B:";
        break;
      case Type::kData:
        text += event.data;
        break;
      case Type::kEnd:
        text += " ";
        begun_at = text.size();
        break;
      case Type::kPing:
        text.append("ping:").append(event.data).append(" ");
        break;
      case Type::kPong:
        text.append("pong:").append(event.data).append(" ");
        break;
      case Type::kFailed:  // how much of a message came before it depends on how it was cut
        if (reader.in_message()) text.resize(std::min(begun_at, text.size()));
        [[fallthrough]];
      case Type::kClose:
        CHECK(reader.next().type == event.type);  // it stays so
        return text + (event.type == Type::kClose ? "close:" : "failed:") +
               std::to_string(static_cast<int>(event.code)) + ":" + std::string(event.data);
    }
  }
}

std::string outcome_however_cut(std::string_view bytes) {
  const std::string whole = outcome(bytes, bytes.size());
  for (const std::size_t piece : {1, 2, 3, 5, 7, 64}) CHECK(outcome(bytes, piece) == whole);
  for (std::size_t cut = 1; cut < std::min<std::size_t>(bytes.size(), 200); ++cut) {
    CHECK(outcome(bytes, cut) == whole);
  }
  return whole;
}

}  // namespace

TEST_CASE("frames become messages, however the stream is cut") {
  CHECK(outcome_however_cut(client_frame(kFin | kText, "hello")) == "T:hello ");
  CHECK(outcome_however_cut(client_frame(kFin | kText, "")) == "T: ");
  const std::string pieces = client_frame(kText, "a") + client_frame(kFin | kPing, "p") +
                             client_frame(0, "") + client_frame(0, "b") +
                             client_frame(kFin | kPong, "") + client_frame(kFin, "c");
  CHECK(outcome_however_cut(pieces + client_frame(kFin | kBinary, "\xff")) ==
        "T:aping:p bpong: c B:\xff ");
  CHECK(outcome_however_cut(client_frame(kText, "open")) == "T:open...");
  CHECK(outcome_however_cut(client_frame(kText, "\xe2\x82") + client_frame(kFin, "\xac")) ==
        "T:\xe2\x82\xac ");
  CHECK(outcome_however_cut(client_frame(kFin | kPing, std::string(125, 'p'))) ==
        "ping:" + std::string(125, 'p') + " ");
  CHECK(outcome_however_cut(client_frame(kFin | kClose, "") + "anything") == "close:1005:");
  for (const int code : {1000, 1003, 1007, 1014, 3000, 4999}) {
    CHECK(outcome_however_cut(client_frame(kFin | kClose, close_payload(code, "bye"))) ==
          "close:" + std::to_string(code) + ":bye");
  }
}

TEST_CASE("P4.8: each violation of RFC 6455 gives its close code, however the stream is cut") {
  for (const BadFrames& bad : bad_frames(kMessageBytesMax)) {
    INFO(bad.what);
    const std::string result = outcome_however_cut(bad.bytes);
    CHECK(result.find("failed:" + std::to_string(bad.code) + ":") != std::string::npos);
  }
}

TEST_CASE("P4.8: a message may be as large as the limit, and is refused at the head one beyond") {
  const std::string fits(kMessageBytesMax, 'x');
  CHECK(outcome(client_frame(kFin | kBinary, fits), 4096) == "B:" + fits + " ");
  CHECK(outcome(client_frame(kBinary, fits) + client_frame(kFin, ""), 4096) == "B:" + fits + " ");
  // The head and one byte of the payload: nothing of it is given out.
  const std::string beyond = client_frame(kFin | kBinary, fits + "x");
  CHECK(outcome(beyond.substr(0, 9), 4096).rfind("failed:1009:", 0) == 0);
}

TEST_CASE("text is judged at the first byte that cannot be UTF-8, not at its end") {
  CHECK(outcome(client_frame(kText, "a\xff"), 4096).rfind("failed:1007:", 0) == 0);
  Utf8Checker checker;
  CHECK(checker.add("\xf4"));
  CHECK_FALSE(checker.complete());
  CHECK_FALSE(checker.add("\x90"));
}

TEST_CASE("a frame's head has the shortest form of its length, and no mask") {
  const auto head = [](std::uint64_t size) {
    return websocket_frame_head(WebSocketOpcode::kText, Fragment::kLast, size);
  };
  CHECK(head(0) == std::string("\x81\0", 2));
  CHECK(head(125) == "\x81\x7d");
  CHECK(head(126) == std::string("\x81\x7e\0\x7e", 4));
  CHECK(head(65535) == "\x81\x7e\xff\xff");
  CHECK(head(65536) == std::string("\x81\x7f\0\0\0\0\0\x01\0\0", 10));
  CHECK(websocket_frame_head(WebSocketOpcode::kContinuation, Fragment::kMore, 1) ==
        std::string("\0\x01", 2));
}

TEST_CASE("a close frame's reason is cut at a character's border, and left out if it is no text") {
  CHECK(websocket_close_frame(CloseCode::kNormal, "bye") ==
        "\x88\x05\x03\xe8"
        "bye");
  CHECK(websocket_close_frame(CloseCode::kNoStatus, "bye") == std::string("\x88\0", 2));
  CHECK(websocket_close_frame(CloseCode::kNormal, "\xff") == "\x88\x02\x03\xe8");
  const std::string filler(122, 'x');
  CHECK(websocket_close_frame(CloseCode::kNormal, filler + "yz") ==
        "\x88\x7d\x03\xe8" + filler + "y");
  CHECK(websocket_close_frame(CloseCode::kNormal, filler + "\xe2\x82\xac") ==
        "\x88\x7c\x03\xe8" + filler);
}
