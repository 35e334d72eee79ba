// Acceptor: takes new connections from the listening sockets and gives them to the pollers, to which
// one as the Balancer says.
//
// Runs on whatever thread leads the first poller. When accept(2) fails for want of something
// (EMFILE, ENFILE, ENOBUFS, ENOMEM), the listener is not watched for 5 ms, doubling up to 1 s while
// it goes on failing; a reserved descriptor lets it answer newcomers with 503 instead of leaving
// them in the backlog (P3.4), and ServerOptions::descriptors_reserved more let it serve some.
//
// Nor is it watched while a filter says that nothing may be accepted:
//
//   watched ── a filter says no ──▶ paused ── a connection was closed, or kPauseLook passed,
//      ▲                              │       and no filter says no any more
//      └──────────────────────────────┘
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "base/fd.h"
#include "base/placeholder.h"
#include "base/result.h"
#include "base/text.h"
#include "server-core/connection.h"
#include "server-core/listener_filter.h"
#include "server-core/unix_listener.h"

namespace vigil::http {

class Engine;
class EngineThread;

class Acceptor {
 public:
  static constexpr Duration kBackoffMin = std::chrono::milliseconds(5);
  static constexpr Duration kBackoffMax = std::chrono::seconds(1);
  // How long a filter that says no may go unasked when no connection is closed.
  static constexpr Duration kPauseLook = std::chrono::seconds(1);
  static constexpr int kBatch = 64;  // accepted in a row before connections get their turn again

  // Connections over a limit that may linger at once to read their 503; more are closed without
  // one.
  static constexpr int kTurnedAwayMax = 256;

  explicit Acceptor(Engine& engine);

  static constexpr std::size_t kReservedMax = 16;  // ServerOptions::descriptors_reserved

  // Binds and listens on what the options say. The errors of Server::create().
  Result<void> open();
  const HostPort& endpoint() const { return endpoint_; }
  // Has the first poller's leader told of newcomers; backs off, as from a failing accept, where the
  // system has no room for that (epoll_ctl(2): ENOMEM, ENOSPC).
  void watch(MonotonicTime now);

  // --- The first poller's leader.

  // There are connections to accept.
  void on_readable(EngineThread& thread);
  // Accepts what the backlog has, then closes the listener: a client whose connection was
  // established is served.
  void drain_and_close(EngineThread& thread);
  // While backing off or paused: when to go on, kNoDeadline otherwise.
  MonotonicTime resume_at() const { return resume_at_; }
  void resume(MonotonicTime now);
  // Goes on if it was paused and the filters allow it by now: called after a wake-up.
  void resume_if_paused(MonotonicTime now) {
    if (paused_.load(std::memory_order_relaxed)) resume(now);
  }

  // --- Any thread.

  // A connection's descriptor is closed: takes back what was lent to it, if anything was. To be called
  // next, so that nobody else gets its number first.
  void restock() {
    if (for_newcomers_.missing() > 0) for_newcomers_.restock();
  }
  // A filter has been told of a closed connection: whether the first poller must be woken for it.
  bool paused() const { return paused_.load(); }

  // Before start() only.
  void close_unstarted() { close(); }

 private:
  enum class Round : std::uint8_t { kMore, kEmpty, kBackoff };

  Result<void> open_port();
  void unwatch();
  void close();
  bool listening() const { return listener_ || unix_; }
  Round accept_one(int listener, EngineThread& thread);
  Round on_error(int error, int listener, EngineThread& thread);
  PeerAddress peer_of(int socket, const sockaddr_storage& storage);
  void report_foreign_user(const PeerAddress& peer);
  void admit(UniqueFd socket, const PeerAddress& peer, EngineThread& thread);
  bool count_refusal(const FilterChain::Decision& decision, EngineThread& thread);
  bool pause(EngineThread& thread);
  void stop_watching_until(MonotonicTime time);
  void turn_away_with_reserve(int listener, EngineThread& thread);
  bool turn_one_away(int listener, EngineThread& thread);
  void back_off(int error, MonotonicTime now);
  void log_error(int error);

  Engine& engine_;
  UniqueFd listener_;  // a port's
  UnixListener unix_;
  Placeholders for_answers_{1};  // to newcomers that cannot be served
  Placeholders for_newcomers_;   // ServerOptions::descriptors_reserved
  std::uint64_t unix_peers_ = 0;
  HostPort endpoint_;
  Duration backoff_{0};
  MonotonicTime resume_at_ = kNoDeadline;
  std::atomic<bool> paused_{false};
  MonotonicTime next_log_{};
  MonotonicTime next_user_log_{};
  std::uint64_t errors_since_log_ = 0;
};

}  // namespace vigil::http
