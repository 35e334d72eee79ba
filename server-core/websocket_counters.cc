#include "server-core/websocket_counters.h"

#include <algorithm>

namespace vigil::http {

std::string_view close_class_name(CloseClass close_class) {
  switch (close_class) {
    case CloseClass::kNormal:
      return "normal";
    case CloseClass::kRefused:
      return "refused";
    case CloseClass::kError:
      return "error";
    case CloseClass::kApplication:
      return "application";
    case CloseClass::kLost:
      break;
  }
  return "lost";
}

CloseClass close_class_of(CloseCode code) {
  const auto number = static_cast<std::uint16_t>(code);
  if (number == 1000 || number == 1001 || number == 1005) return CloseClass::kNormal;
  if (number >= 3000) return CloseClass::kApplication;
  if (number == 1006) return CloseClass::kLost;
  return number >= 1011 ? CloseClass::kError : CloseClass::kRefused;
}

void WebSocketCounters::closed(CloseCode code) {
  closed_[static_cast<std::size_t>(close_class_of(code))].fetch_add(1, std::memory_order_relaxed);
}

WebSocketStats WebSocketCounters::stats() const {
  WebSocketStats stats;
  std::uint64_t closed = 0;
  for (std::size_t i = 0; i < kCloseClasses; ++i) {
    closed += stats.closed[i] = closed_[i].load(std::memory_order_relaxed);
  }
  stats.opened = opened_.load(std::memory_order_relaxed);
  stats.open = stats.opened - std::min(closed, stats.opened);
  stats.messages_in = messages_in_.load(std::memory_order_relaxed);
  stats.messages_out = messages_out_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace vigil::http
