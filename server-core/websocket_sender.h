// The sending half of a WebSocket: frames of any number of threads, one whole frame at a time.
//
// A thread that sends holds one of two rights, or both. The right to the wire lasts for one frame;
// the right to the message lasts from a message's first fragment to its last, so that other messages
// wait while pings, pongs and the close frame pass between the fragments (RFC 6455 §5.4).
//
// The goodbye of a shutdown must neither block nor fall into another thread's frame:
//
//    goodbye():  wire free and the socket takes bytes ──▶ sent at once
//                otherwise ──▶ kDue: sent by whoever gives the wire back, or asks for it next
//
//      kOpen ── goodbye() ──▶ kDue ──▶ kSent          kOpen ── send_close() ──▶ kSent
//
// Nothing but the close frame is sent from kDue on.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "leakwatch/task_registry.h"
#include "server-core/hijack.h"
#include "server-core/websocket_counters.h"
#include "server-core/websocket_frames.h"

namespace vigil::http {

// What the two halves of a WebSocket tell the watchdog about the one task that they belong to: that
// it waits for its peer while the reader waits and nobody writes. Thread-safe.
class WebSocketProgress {
 public:
  explicit WebSocketProgress(leakwatch::TaskProgress task) : task_(task) {}
  void reader_waits();
  void reader_goes_on();
  void write_begins();
  void write_ends();

 private:
  leakwatch::TaskProgress task_;
  std::mutex mutex_;
  bool reader_waits_ = false;  // guarded by mutex_, as is the next
  int writers_ = 0;
};

// Thread-safe, except that one message's fragments come from one thread. `connection`, `progress`
// and `counters` must outlive it.
//
// Every call that sends gives: deadline_exceeded if a right or the socket was not to be had until
// `deadline`; closed if a close frame has been sent or is due, or the connection is gone. A frame
// that could not be sent whole ends the connection, for the reader too.
class WebSocketSender {
 public:
  WebSocketSender(HijackedConnection& connection, WebSocketProgress& progress,
                  WebSocketCounters& counters, Duration goodbye_timeout)
      : connection_(connection),
        progress_(progress),
        counters_(counters),
        goodbye_timeout_(goodbye_timeout) {}

  // A whole message in one frame.
  Result<void> send_message(MessageKind kind, std::string_view data, MonotonicTime deadline);

  // A message in fragments: the right to it, its fragments, the last of which gives the right back.
  Result<void> begin_message(MonotonicTime deadline);
  Result<void> send_fragment(WebSocketOpcode opcode, Fragment fragment, std::string_view data,
                             MonotonicTime deadline);

  // `payload`: at most 125 bytes.
  Result<void> send_control(WebSocketOpcode opcode, std::string_view payload,
                            MonotonicTime deadline);

  // The close frame, if none has been sent.
  Result<void> send_close(CloseCode code, std::string_view reason, MonotonicTime deadline);
  // The same with 1001, from the thread that shuts the server down. Never blocks.
  void goodbye();
  // Sends a goodbye that is still due, if that goes without waiting.
  void send_due();

  // The code of the close frame that was sent, if one was.
  std::optional<CloseCode> sent_close() const;

 private:
  enum class Closing : std::uint8_t { kOpen, kDue, kSent };

  Result<void> take_wire(std::unique_lock<std::mutex>& lock, MonotonicTime deadline);
  Result<void> may_send() const;
  void give_wire_back(std::unique_lock<std::mutex>& lock, const Result<void>& written);
  void send_goodbye(std::unique_lock<std::mutex>& lock, MonotonicTime deadline);
  Result<void> send_frame(WebSocketOpcode opcode, Fragment fragment, std::string_view payload,
                          MonotonicTime deadline);
  Result<void> write_frame(WebSocketOpcode opcode, Fragment fragment, std::string_view payload,
                           MonotonicTime deadline);
  bool socket_takes_bytes() const;

  HijackedConnection& connection_;
  WebSocketProgress& progress_;
  WebSocketCounters& counters_;
  const Duration goodbye_timeout_;

  mutable std::mutex mutex_;
  // All guarded by mutex_, which nobody holds while writing.
  std::condition_variable changed_;
  bool wire_taken_ = false;
  bool message_taken_ = false;
  Closing closing_ = Closing::kOpen;
  CloseCode close_code_ = CloseCode::kNoStatus;
  std::optional<Error> broken_;
};

}  // namespace vigil::http
