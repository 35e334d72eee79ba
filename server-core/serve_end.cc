// The ends of a connection, as EngineThread brings them about: refusing, what a client still sends
// and nobody wants, lingering, closing.
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

// How long a client may take to read an error and close.
constexpr Duration kLingerTime = std::chrono::seconds(2);

}  // namespace

// With nothing owed to the peer, who is told so if the channel has a way to say it. A response that
// was cut ends without.
EngineThread::Outcome EngineThread::close_in_order(Connection& connection) {
  connection.say_end();
  return close(connection);
}

EngineThread::Outcome EngineThread::close(Connection& connection) {
  set_state(connection, ConnectionState::kClosed);
  return Outcome::kElsewhere;
}

// Closes our side, and waits a little for the client to read the answer and close its own: closing
// at once while it sends would answer with a reset, which makes its system throw away what it has
// received (RFC 9112 §9.6).
EngineThread::Outcome EngineThread::linger(Connection& connection) {
  connection.release_buffers();
  if (!connection.end_output()) return close(connection);
  set_state(connection, ConnectionState::kLingering);
  connection.set_deadline(now_ + kLingerTime);
  return discard_lingering(connection);
}

EngineThread::Outcome EngineThread::discard_lingering(Connection& connection) {
  for (int reads = 0; reads < kReadsMax; ++reads) {
    const ssize_t got = connection.discard_raw(scratch_.get(), kScratchBytes);
    if (got < 0 && errno == EAGAIN) break;
    if (got == 0 || (got < 0 && errno != EINTR)) return close(connection);
  }
  connection.poller->report_again(connection, EPOLLIN);
  return Outcome::kElsewhere;
}

EngineThread::Outcome EngineThread::discard_body(Connection& connection) {
  for (int reads = 0; connection.discard_left > 0; ++reads) {
    if (reads == kReadsMax) {
      connection.poller->report_again(connection, EPOLLIN);
      return Outcome::kElsewhere;
    }
    const std::size_t size =
        static_cast<std::size_t>(std::min<std::uint64_t>(kScratchBytes, connection.discard_left));
    const ssize_t got = connection.receive(scratch_.get(), size);
    if (got < 0 && errno == EAGAIN) {
      connection.poller->report_again(connection, EPOLLIN);
      return Outcome::kElsewhere;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return close(connection);
    counters.add(Counter::kBytesReceived, got);
    connection.discard_left -= static_cast<std::uint64_t>(got);
  }
  become_idle(connection);
  return read_and_serve(connection);
}

// --- Refusing.

EngineThread::Outcome EngineThread::refuse(Connection& connection, Refusal refusal) {
  counters.add(Counter::kBadRequests);
  send_refusal(connection, refusal);
  return linger(connection);
}

EngineThread::Outcome EngineThread::turn_away_and_linger(Connection& connection) {
  send_refusal(connection, {503, "too many connections"});
  return linger(connection);
}

// A short answer by the engine itself, with Connection: close. Never blocks: the socket's buffer
// has room for it, unless the client does not read its answers, and then it does not read this one
// either.
void EngineThread::send_refusal(Connection& connection, Refusal refusal) {
  std::string response = "HTTP/1.1 " + std::to_string(refusal.status) + " ";
  response.append(status_reason(refusal.status)).append("\r\nDate: ");
  response.append(date.get(engine_.clock, now_));
  response.append("\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff");
  if (refusal.status == 503) response.append("\r\nRetry-After: 1");
  response.append("\r\nConnection: close\r\nContent-Length: ");
  response.append(std::to_string(refusal.reason.size() + 1)).append("\r\n\r\n");
  response.append(refusal.reason).append("\n");
  const ssize_t sent = connection.send(response);
  if (sent > 0) counters.add(Counter::kBytesSent, sent);
  counters.add(refusal.status >= 500 ? Counter::kStatus5xx : Counter::kStatus4xx);
}

}  // namespace vigil::http
