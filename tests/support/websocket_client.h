// WebSocketClient: a WebSocket over a RawClient, which sends whatever bytes a test wants and reads
// the server's frames one by one. No assertions inside; every wait has RawClient's limit.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "tests/support/raw_client.h"
#include "tests/support/websocket_frames.h"

namespace vigil::test {

struct ServerFrame {
  int first = -1;  // the first byte; -1: the connection ended, or nothing came in time
  std::string payload;

  // Of a close frame; 1005 without one.
  int code() const {
    if (payload.size() < 2) return 1005;
    return static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
  }
  std::string reason() const { return payload.size() < 2 ? "" : payload.substr(2); }
};

inline std::string upgrade_request(const std::string& target, const std::string& fields = {}) {
  return "GET " + target +
         " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
         fields + "\r\n";
}

class WebSocketClient {
 public:
  // Asks for `target`, with `behind` sent in the same piece; response() is the answer.
  WebSocketClient(RawClient raw, const std::string& target, const std::string& fields = {},
                  std::string_view behind = {})
      : raw_(std::move(raw)) {
    raw_.send(upgrade_request(target, fields).append(behind));
    response_ = raw_.read_response();
    bytes_ = raw_.take_received();
  }

  const RawResponse& response() const { return response_; }
  bool open() const { return response_.status == 101; }
  RawClient& raw() { return raw_; }

  bool send(int first, std::string_view payload = {}) {
    return raw_.send(client_frame(first, payload));
  }
  ServerFrame read_frame() {
    ServerFrame frame;
    if (!have(2)) return frame;
    std::uint64_t size = byte(1) & 0x7F;
    const std::size_t more = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (!have(2 + more)) return frame;
    if (more > 0) size = 0;
    for (std::size_t i = 0; i < more; ++i) size = size << 8 | byte(2 + i);
    if (!have(2 + more + size)) return frame;
    frame.first = byte(0);
    frame.payload = bytes_.substr(2 + more, size);
    bytes_.erase(0, 2 + more + size);
    return frame;
  }
  // Whether the server ends the connection, without another byte.
  bool ended() { return bytes_.empty() && raw_.closed_within(RawClient::kLimit); }

 private:
  unsigned byte(std::size_t at) const { return static_cast<unsigned char>(bytes_[at]); }
  bool have(std::size_t size) {
    while (bytes_.size() < size) {
      const std::string more = raw_.read_some();
      if (more.empty()) return false;
      bytes_ += more;
    }
    return true;
  }

  RawClient raw_;
  RawResponse response_;
  std::string bytes_;  // come, and in no frame that was read
};

}  // namespace vigil::test
