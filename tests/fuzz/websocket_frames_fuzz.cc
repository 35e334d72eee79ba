// WebSocketFrameReader: however a stream of frames is cut, the same messages and the same end; never
// more of a message than the limit, never text that is not UTF-8.

#include <string>

#include "base/text.h"
#include "server-core/websocket_frames.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace vigil::http;
using vigil::fuzz::Cuts;
using vigil::fuzz::fuzz_require;
using Type = WebSocketEvent::Type;

constexpr std::uint64_t kMessageBytesMax = 5000;

class Outcome {
 public:
  void add(const WebSocketEvent& event) {
    switch (event.type) {
      case Type::kBegin:
        fuzz_require(!open_, "messages do not nest");
        open_ = true;
        message_.clear();
        break;
      case Type::kData:
        fuzz_require(open_ && !event.data.empty(), "data belongs to a message");
        message_ += event.data;
        fuzz_require(message_.size() <= kMessageBytesMax, "the limit holds");
        break;
      case Type::kEnd:
        fuzz_require(open_, "only a message ends");
        open_ = false;
        if (event.kind == MessageKind::kText) {
          fuzz_require(vigil::valid_utf8(message_) == message_, "text is UTF-8");
        }
        text_.append(event.kind == MessageKind::kText ? "T:" : "B:").append(message_).append("|");
        break;
      case Type::kPing:
      case Type::kPong:
        fuzz_require(event.data.size() <= 125, "a control frame is short");
        text_.append(event.type == Type::kPing ? "ping:" : "pong:").append(event.data).append("|");
        break;
      case Type::kClose:
        fuzz_require(vigil::valid_utf8(event.data) == event.data, "a reason is UTF-8");
        end(event);
        break;
      case Type::kFailed:
        fuzz_require(may_be_sent(event.code) && !event.data.empty(), "a failure has a code");
        end(event);
        break;
      case Type::kNeedInput:
        break;
    }
  }
  bool ended() const { return ended_; }
  // What has come whole, and the end. How much of a message was given out before it turned out to be
  // no text depends on how it was cut.
  const std::string& text() const { return text_; }

 private:
  void end(const WebSocketEvent& event) {
    ended_ = true;
    text_ += std::to_string(static_cast<int>(event.code)).append(event.data);
  }

  std::string text_;
  std::string message_;
  bool open_ = false;
  bool ended_ = false;
};

// The text of all that comes of `bytes`, cut into pieces.
std::string read(std::string_view bytes, Cuts cuts, std::size_t piece_max) {
  WebSocketFrameReader reader(kMessageBytesMax);
  Outcome outcome;
  while (!outcome.ended()) {
    const WebSocketEvent event = reader.next();
    outcome.add(event);
    if (event.type != Type::kNeedInput) continue;
    if (bytes.empty()) break;
    const std::size_t size = std::min(cuts.next(piece_max), bytes.size());
    reader.feed(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  return outcome.text();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vigil::fuzz::FuzzInput input(data, size);
  const Cuts cuts(input.number(2));
  const std::string_view bytes = input.rest();
  const std::string whole = read(bytes, cuts, bytes.size() + 1);
  fuzz_require(read(bytes, cuts, 1) == whole, "byte by byte is the same");
  fuzz_require(read(bytes, cuts, 7) == whole, "any cut is the same");
  return 0;
}
