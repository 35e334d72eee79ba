// Connection: one accepted socket, and everything that is kept for it while no thread works on it.
//
// Ownership. One thread owns a connection at a time: the leader of its poller, or the thread that
// runs its handler. Only the owner touches the plain members. What others have to say goes into
// `flags`: the leader records events there that arrive while a handler owns the connection, and the
// handler's thread finds them when it gives the connection back.
//
//   leader ── kOwnedByHandler set before the handler may outlive the leader's turn ──▶ handler's
//   thread handler's thread ── compare-exchange kOwnedByHandler → 0 if nothing is pending ──▶
//   leader  (idle: no system call)
//                    ── Poller::give_back(): inbox and wake-up ──▶ leader                      (all
//                    other states)
//
// Destroyed by the leader only, after the batch of events in which it was closed (U9).
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "server-core/channel.h"
#include "server-core/conn_state.h"
#include "server-core/context.h"
#include "server-core/counters.h"
#include "server-core/flight_limit.h"
#include "server-core/head_rules.h"
#include "server-core/peer_address.h"
#include "server-core/timer_wheel.h"

namespace vigil::http {

class Http2Connection;
class Poller;

// Each state has one deadline, in Connection::deadline.
enum class ConnectionState : std::uint8_t {
  kHandshaking,  // accepted, TLS is not agreed upon. handshake. -> kNew; kLingering; closed
  kNew,          // accepted, not a byte yet. Deadline: read_header. -> kReadingHead, kReadingBody,
                 // kHandling; closed silently
  kReadingHead,  // part of a head is buffered. read_header, from accept or the first byte. ->
                 // kReadingBody, kHandling; 408
  kReadingBody,  // part of a small body is buffered. read, from the same moment. -> kHandling; 408
  kHandling,     // a handler runs. write: then the socket is shut down under it. -> all those below
  kQueued,       // a whole request waits for a slot (FlightLimit). queue_timeout. -> kHandling;
                 // 503; closed if the peer goes
  kFlushing,     // the rest of a response waits for the peer. write. -> kIdle, kDiscarding,
                 // kLingering; cut
  kDiscarding,   // answered, but the body is not in yet. read. -> kIdle; closed
  kIdle,  // between requests, no buffer. idle. -> kReadingHead, kReadingBody, kHandling; closed
          // silently
  kLingering,    // the last response is out, our side is shut; what comes is thrown away until the
                 // peer closes. 2 s
  kMultiplexed,  // HTTP/2: streams have states and deadlines of their own (http2_connection.h). The
                 // nearest of them. -> kLingering
  kClosed,       // nothing may touch it; freed after the batch
};
static_assert(static_cast<int>(ConnectionState::kMultiplexed) ==
              static_cast<int>(Counter::kStateMultiplexed));

struct Connection final : FlightWaiter {
  // Bits of `flags`.
  static constexpr std::uint32_t kOwnedByHandler = 1;
  static constexpr std::uint32_t kReadable = 2;
  static constexpr std::uint32_t kWritable = 4;
  static constexpr std::uint32_t kPeerGone = 8;
  static constexpr std::uint32_t kForcedDown = 16;
  // With kOwnedByHandler: no handler, but the queue of FlightLimit has it.
  static constexpr std::uint32_t kQueued = 32;
  // Hijacked: the leader shall forget the socket, then destroy the connection when the handler has
  // ended. Of these two the one who comes second sees to it; the inbox links connections through
  // themselves, so none may be given twice.
  static constexpr std::uint32_t kHijacked = 64;
  static constexpr std::uint32_t kForgotten = 128;
  static constexpr std::uint32_t kHandlerEnded = 256;

  Connection(UniqueFd socket, Poller& owner);
  ~Connection() override;

  // Its request has left the queue with a slot: given to the leader, through the inbox.
  bool take_slot() noexcept override;

  MonotonicTime get_deadline() const {
    return MonotonicTime(Duration(deadline_ns.load(std::memory_order_relaxed)));
  }
  void set_deadline(MonotonicTime deadline) {
    deadline_ns.store(deadline.time_since_epoch().count(), std::memory_order_relaxed);
  }

  // --- Input and output, by the owner: all of the engine's, but for shutdown(2), which any thread
  // may call on the socket. What they return is what the system calls do (channel.h).

  ssize_t receive(char* into, std::size_t size) {
    return channel ? channel->receive(into, size) : ::recv(fd.get(), into, size, 0);
  }
  ssize_t send(std::string_view bytes) {
    if (!channel) return ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    const iovec part{const_cast<char*>(bytes.data()), bytes.size()};  // NOLINT: not written
    return channel->send(std::span(&part, 1));
  }
  ssize_t send(std::span<iovec> parts);
  // Whether bytes have been taken out of the socket that receive() has not given yet.
  bool has_pending() const { return channel && channel->has_pending(); }
  // What to poll(2) for when receive() (POLLIN) or send() (POLLOUT) gave EAGAIN.
  short events_for(short events) const { return channel ? channel->events_for(events) : events; }
  // Whether something has come that nobody has received, without receiving it. What it is may turn
  // out to be nothing for us.
  bool has_input() const;
  // The last response is out: the peer is told that no more comes. For a connection that is closed
  // next.
  void say_end() {
    if (channel) channel->say_end();
  }
  // Likewise, and closes our side of the socket; what the peer sends can still be taken out of it.
  // false if the socket is broken.
  bool end_output();
  // Takes what has come out of the socket and throws it away, up to `size` bytes: after
  // end_output().
  ssize_t discard_raw(char* scratch, std::size_t size) {
    return ::recv(fd.get(), scratch, size, 0);
  }

  // Gives the buffers' memory back: an idle connection has none.
  void release_buffers();

  // The stop token of the request being handled. The owner's.
  std::stop_token stop_token();
  // Any thread.
  void request_stop();
  // The handler has returned: its token stops, and the next request gets a new one.
  void end_stop_scope();

  UniqueFd fd;
  std::unique_ptr<Channel> channel;  // the owner's; null: the socket's bytes are the protocol's
  // Whose leader owns it while no handler does. Changes only then, by that leader (poller_moves.cc).
  Poller* poller;
  std::atomic<std::uint32_t> flags{0};
  std::atomic<std::int64_t> deadline_ns{0};  // written by the owner, read by the leader's timer

  // The leader's own.
  std::shared_ptr<Http2Connection> http2;  // in kMultiplexed; others have the leader's copy
  TimerWheel::Node timer;
  Connection* list_next = nullptr;
  Connection* list_previous = nullptr;
  bool registered = false;
  bool moving = false;           // to `poller`, whose inbox it is in
  bool cut = false;              // shut down under its handler, whose write deadline has passed
  std::uint32_t move_round = 0;  // the round of moves in which it was last considered

  // Of the ConnectionList that it is in: the inbox's or the dead's.
  Connection* queue_next = nullptr;
  Connection* queue_previous = nullptr;

  // The owner's.
  ConnectionState state = ConnectionState::kNew;
  QueuePass pass = QueuePass::kNone;
  bool counts_toward_limits = true;  // admitted by the listener's filters
  bool close_after_flush = false;
  bool keeps_buffers = false;    // the channel does, and Engine::kept_buffers counts it
  bool peer_gone = false;        // the peer has closed its side: behind what it sent is the end
  std::uint32_t requests = 0;    // heads so far
  MonotonicTime began{};         // accept, or the first byte of the present request
  MonotonicTime heard{};         // its very first byte (of the protocol: after TLS is agreed upon)
  std::uint64_t trace_id = 0;    // its number in traces; 0: none yet
  HeadScanner scanner;           // where the scan of `input` stands
  std::string input;             // an incomplete head, or head and part of a small body
  std::size_t input_needed = 0;  // in kReadingBody: head and body
  std::string output;            // what a response's reader has not taken yet
  std::size_t output_sent = 0;
  std::uint64_t discard_left = 0;  // bytes of a request's body that nobody reads

  // Set before anybody else sees the connection.
  PeerAddress peer;
  MonotonicTime accepted{};

  // The owner's; used only with the options' hooks.
  std::uint64_t id = 0;  // 0: none yet
  ConnState announced = ConnState::kClosed;
  bool has_context = false;  // conn_context has been called
  Context context;

 private:
  bool stop_scope_open_ = false;  // the owner's: the handler has asked for its token
  std::mutex stop_mutex_;
  std::optional<std::stop_source> stop_source_;  // guarded by stop_mutex_
  bool stop_requested_ = false;                  // guarded by stop_mutex_
};

static_assert(sizeof(Connection) <= 512, "10,000 idle connections must stay below 1 KiB each");

}  // namespace vigil::http
