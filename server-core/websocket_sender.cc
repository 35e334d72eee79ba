#include "server-core/websocket_sender.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

namespace vigil::http {
namespace {

// Up to here a frame is put together and sent with one call.
constexpr std::size_t kJoinedBytesMax = 16 * 1024;

}  // namespace

void WebSocketProgress::reader_waits() {
  std::lock_guard lock(mutex_);
  reader_waits_ = true;
  if (writers_ == 0) task_.waits();  // else it would hide a writer that is stuck
}

void WebSocketProgress::reader_goes_on() {
  std::lock_guard lock(mutex_);
  reader_waits_ = false;
  task_.made();
}

void WebSocketProgress::write_begins() {
  std::lock_guard lock(mutex_);
  ++writers_;
  task_.made();
}

void WebSocketProgress::write_ends() {
  std::lock_guard lock(mutex_);
  --writers_;
  if (reader_waits_ && writers_ == 0) {
    task_.waits();
  } else {
    task_.made();
  }
}

Result<void> WebSocketSender::may_send() const {
  if (broken_) return *broken_;
  if (closing_ == Closing::kOpen) return {};
  return Error(ErrorCode::kClosed, "a close frame has been sent");
}

// With the lock: when this succeeds, the wire is the caller's, who gives it back.
Result<void> WebSocketSender::take_wire(std::unique_lock<std::mutex>& lock,
                                        MonotonicTime deadline) {
  SystemClock clock;
  while (wire_taken_) {
    if (clock.now() >= deadline) {
      return Error(ErrorCode::kDeadlineExceeded, "another thread's frame was in the way");
    }
    clock.wait_until(lock, changed_, deadline);
  }
  if (broken_) return *broken_;
  wire_taken_ = true;
  return {};
}

// The caller's frame is out, or the connection is of no use any more. A goodbye that became due
// meanwhile goes before the next frame of anybody.
void WebSocketSender::give_wire_back(std::unique_lock<std::mutex>& lock,
                                     const Result<void>& written) {
  if (!written) {
    broken_ = Error(ErrorCode::kClosed, "sending failed: " + written.error().message());
    ::shutdown(connection_.fd(), SHUT_RDWR);  // the reader sees the end
  } else if (closing_ == Closing::kDue) {
    send_goodbye(lock, SystemClock().now() + goodbye_timeout_);
  }
  wire_taken_ = false;
  changed_.notify_all();
}

// With the lock and the wire.
void WebSocketSender::send_goodbye(std::unique_lock<std::mutex>& lock, MonotonicTime deadline) {
  closing_ = Closing::kSent;
  close_code_ = CloseCode::kGoingAway;
  lock.unlock();
  const Result<void> written = connection_.write(
      websocket_close_frame(CloseCode::kGoingAway, "the server is going down"), deadline);
  lock.lock();
  if (written) return;
  broken_ = Error(ErrorCode::kClosed, "sending failed: " + written.error().message());
  ::shutdown(connection_.fd(), SHUT_RDWR);
}

// poll(2) says so of a TCP socket when a third of its buffer is free: a close frame then goes whole.
bool WebSocketSender::socket_takes_bytes() const {
  pollfd waited{connection_.fd(), POLLOUT, 0};
  return ::poll(&waited, 1, 0) == 1 && (waited.revents & POLLOUT) != 0;
}

void WebSocketSender::goodbye() {
  {
    std::lock_guard lock(mutex_);
    if (closing_ == Closing::kOpen) closing_ = Closing::kDue;
  }
  send_due();
}

void WebSocketSender::send_due() {
  std::unique_lock lock(mutex_);
  if (closing_ != Closing::kDue || wire_taken_ || broken_ || !socket_takes_bytes()) return;
  wire_taken_ = true;
  send_goodbye(lock, SystemClock().now());
  wire_taken_ = false;
  changed_.notify_all();
}

Result<void> WebSocketSender::write_frame(WebSocketOpcode opcode, Fragment fragment,
                                          std::string_view payload, MonotonicTime deadline) {
  std::string start = websocket_frame_head(opcode, fragment, payload.size());
  const std::size_t joined = std::min(payload.size(), kJoinedBytesMax);
  start.append(payload.substr(0, joined));
  progress_.write_begins();
  Result<void> written = connection_.write(start, deadline);
  if (written && joined < payload.size()) {
    written = connection_.write(payload.substr(joined), deadline);
  }
  progress_.write_ends();
  return written;
}

Result<void> WebSocketSender::send_frame(WebSocketOpcode opcode, Fragment fragment,
                                         std::string_view payload, MonotonicTime deadline) {
  std::unique_lock lock(mutex_);
  if (auto taken = take_wire(lock, deadline); !taken) return taken;
  if (auto allowed = may_send(); !allowed) {
    give_wire_back(lock, {});
    return allowed;
  }
  lock.unlock();
  Result<void> written = write_frame(opcode, fragment, payload, deadline);
  lock.lock();
  give_wire_back(lock, written);
  return written;
}

Result<void> WebSocketSender::begin_message(MonotonicTime deadline) {
  SystemClock clock;
  std::unique_lock lock(mutex_);
  while (message_taken_) {
    if (auto allowed = may_send(); !allowed) return allowed;
    if (clock.now() >= deadline) {
      return Error(ErrorCode::kDeadlineExceeded, "another thread's message was in the way");
    }
    clock.wait_until(lock, changed_, deadline);
  }
  if (auto allowed = may_send(); !allowed) return allowed;
  message_taken_ = true;
  return {};
}

Result<void> WebSocketSender::send_fragment(WebSocketOpcode opcode, Fragment fragment,
                                            std::string_view data, MonotonicTime deadline) {
  Result<void> sent = send_frame(opcode, fragment, data, deadline);
  if (fragment == Fragment::kMore) return sent;
  if (sent) counters_.message_out();
  std::lock_guard lock(mutex_);
  message_taken_ = false;
  changed_.notify_all();
  return sent;
}

Result<void> WebSocketSender::send_message(MessageKind kind, std::string_view data,
                                           MonotonicTime deadline) {
  if (auto begun = begin_message(deadline); !begun) return begun;
  const auto opcode =
      kind == MessageKind::kText ? WebSocketOpcode::kText : WebSocketOpcode::kBinary;
  return send_fragment(opcode, Fragment::kLast, data, deadline);
}

Result<void> WebSocketSender::send_control(WebSocketOpcode opcode, std::string_view payload,
                                           MonotonicTime deadline) {
  return send_frame(opcode, Fragment::kLast, payload, deadline);
}

Result<void> WebSocketSender::send_close(CloseCode code, std::string_view reason,
                                         MonotonicTime deadline) {
  std::unique_lock lock(mutex_);
  if (auto taken = take_wire(lock, deadline); !taken) return taken;
  Result<void> written;
  if (closing_ == Closing::kOpen) {
    closing_ = Closing::kSent;
    close_code_ = code;
    lock.unlock();
    written = connection_.write(websocket_close_frame(code, reason), deadline);
    lock.lock();
  }
  give_wire_back(lock, written);
  return written;
}

std::optional<CloseCode> WebSocketSender::sent_close() const {
  std::lock_guard lock(mutex_);
  if (closing_ != Closing::kSent) return std::nullopt;
  return close_code_;
}

}  // namespace vigil::http
