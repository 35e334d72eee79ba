// EngineThread's work on a connection because it is one of TLS. While it is still shaking hands that is
// driven by its socket's events, as a head is, on whatever thread polls it.
#include <poll.h>
#include <sys/epoll.h>

#include <new>
#include <utility>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/poller.h"
#include "server-core/tls.h"
#include "server-core/tls_channel.h"

namespace vigil::http {

// kNext: it is done, and the connection is a new one whose bytes are HTTP.
EngineThread::Outcome EngineThread::shake_hands(Connection& connection) {
  // Made with the first bytes: who never speaks costs a socket.
  if (!connection.channel) {
    auto opened = TlsChannel::open(engine_.options.tls->setup(), connection.fd.get());
    if (!opened) throw std::bad_alloc();
    connection.channel = std::move(opened);
  }
  auto& channel = static_cast<TlsChannel&>(*connection.channel);
  switch (channel.handshake()) {
    case TlsChannel::Handshake::kDone:
      break;
    case TlsChannel::Handshake::kMore:
      connection.poller->report_again(connection, EPOLLIN);
      return Outcome::kNeedMore;
    case TlsChannel::Handshake::kWait:
      if (!connection.peer_gone) {
        if (connection.events_for(POLLIN) != POLLIN) {
          connection.poller->report_again(connection, EPOLLIN);
        }
        return Outcome::kNeedMore;
      }
      return end_handshake(connection, "the client closed inside the handshake");
    case TlsChannel::Handshake::kGone:
      counters.add(Counter::kTlsAbandoned);
      return close(connection);
    case TlsChannel::Handshake::kPlainHttp:
      connection.channel.reset();
      log_handshake(connection, "HTTP without TLS");
      send_refusal(connection, {400, "Client sent an HTTP request to an HTTPS server."});
      return linger(connection);
    case TlsChannel::Handshake::kFailed:
      return end_handshake(connection, channel.error());
  }
  counters.add(Counter::kTlsHandshakes);
  if (channel.resumed()) counters.add(Counter::kTlsResumed);
  set_state(connection, ConnectionState::kNew);
  // While the server goes down, a connection has no more time than it had.
  if (!engine_.going_down()) {
    connection.began = now_;
    connection.set_deadline(deadline_after(now_, engine_.timeouts.read_header));
  }
  return Outcome::kNext;
}

// What the channel had to say to the client it has said; a reset must not overtake it.
EngineThread::Outcome EngineThread::end_handshake(Connection& connection, std::string_view reason) {
  log_handshake(connection, reason);
  connection.channel.reset();
  return linger(connection);
}

void EngineThread::log_handshake(Connection& connection, std::string_view reason) {
  counters.add(Counter::kTlsFailures);
  engine_.handshake_log.report(engine_.log, now_, connection.peer.to_host_port(), reason);
}

EngineThread::Outcome EngineThread::end_of_handshake_time(Connection& connection) {
  counters.add(Counter::kTlsTimeouts);
  // Who never sent a byte is no news: balancers do so to see whether we are there.
  if (connection.channel) {
    engine_.handshake_log.report(engine_.log, now_, connection.peer.to_host_port(),
                                 "the handshake took too long");
  }
  return close(connection);
}

// --- Buffers.

// Whether the connection's channel keeps its buffers until become_quiet().
bool EngineThread::keep_buffers(Connection& connection) {
  if (connection.keeps_buffers) return true;
  if (connection.requests < kBusyRequests || engine_.timeouts.idle <= kQuietTime) return false;
  if (engine_.kept_buffers.load(std::memory_order_relaxed) >= kKeptBuffersMax) return false;
  engine_.kept_buffers.fetch_add(1, std::memory_order_relaxed);
  connection.keeps_buffers = true;
  connection.channel->keep_buffers();
  return true;
}

// It has been idle for kQuietTime. What is left is its idle time.
EngineThread::Outcome EngineThread::become_quiet(Connection& connection) {
  connection.keeps_buffers = false;
  engine_.kept_buffers.fetch_sub(1, std::memory_order_relaxed);
  connection.channel->release_buffers();
  const MonotonicTime idle_since = connection.get_deadline() - kQuietTime;
  connection.set_deadline(deadline_after(idle_since, engine_.timeouts.idle));
  return Outcome::kNeedMore;
}

}  // namespace vigil::http
