// What the WebSockets of one server count.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "server-core/websocket_frames.h"

namespace vigil::http {

// How conversations end, by the first close frame of either side.
enum class CloseClass : std::uint8_t {
  kNormal,       // 1000, 1001, or without a code
  kRefused,      // 1002, 1003, 1007 to 1010: one side did not accept what the other sent
  kError,        // 1011 to 1014: a server's failure
  kApplication,  // 3000 to 4999
  kLost,         // none: the connection broke off, timed out or was cut
};
inline constexpr std::size_t kCloseClasses = 5;

// "normal", "refused", "error", "application", "lost".
std::string_view close_class_name(CloseClass close_class);
CloseClass close_class_of(CloseCode code);

// A snapshot.
struct WebSocketStats {
  std::uint64_t open = 0;  // now
  std::uint64_t opened = 0;
  std::uint64_t messages_in = 0;
  std::uint64_t messages_out = 0;
  std::array<std::uint64_t, kCloseClasses> closed{};  // by CloseClass
};

// Thread-safe. Each side of a conversation has a cache line of its own.
class WebSocketCounters {
 public:
  void opened() { opened_.fetch_add(1, std::memory_order_relaxed); }
  void closed(CloseCode code);
  void message_in() { messages_in_.fetch_add(1, std::memory_order_relaxed); }
  void message_out() { messages_out_.fetch_add(1, std::memory_order_relaxed); }
  WebSocketStats stats() const;

 private:
  std::atomic<std::uint64_t> opened_{0};
  std::array<std::atomic<std::uint64_t>, kCloseClasses> closed_{};
  alignas(64) std::atomic<std::uint64_t> messages_in_{0};
  alignas(64) std::atomic<std::uint64_t> messages_out_{0};
};

}  // namespace vigil::http
