// How a poller's connections end when the server goes down, or keeps none alive.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/http2_connection.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

// Connections that never sent a whole request delay a shutdown by this much at most (P4.2).
constexpr Duration kUnspokenGrace = std::chrono::seconds(5);

}  // namespace

void Poller::sweep(EngineThread& thread) {
  const bool forced = engine_.phase() >= Phase::kForced;
  if (index_ == 0) engine_.acceptor.drain_and_close(thread);
  for (Connection* connection = connections_; connection != nullptr;) {
    Connection* next = connection->list_next;
    forced ? sweep_forced(*connection, thread) : sweep_draining(*connection, thread);
    connection = next;
  }
  if (forced && !std::exchange(has_cut_, true)) engine_.poller_has_cut();
}

// Keep-alives are switched off.
void Poller::sweep_idle(EngineThread& thread) {
  for (Connection* connection = connections_; connection != nullptr;) {
    Connection* next = connection->list_next;
    const bool owned =
        connection->flags.load(std::memory_order_acquire) & Connection::kOwnedByHandler;
    if (!owned && connection->state == ConnectionState::kIdle) close_if_idle(*connection, thread);
    if (!owned && connection->http2) thread.drain_multiplexed(*connection);
    connection = next;
  }
}

// A request that has arrived on it is served.
void Poller::close_if_idle(Connection& connection, EngineThread& thread) {
  if (connection.has_input()) return report_again(connection, EPOLLIN);
  connection.say_end();
  thread.counters.add(Counter::kClosedIdle);
  destroy(connection, thread);
}

void Poller::sweep_draining(Connection& connection, EngineThread& thread) {
  if (connection.flags.load(std::memory_order_acquire) & Connection::kOwnedByHandler) return;
  switch (connection.state) {
    case ConnectionState::kIdle:
      close_if_idle(connection, thread);
      return;
    case ConnectionState::kDiscarding:
      thread.counters.add(Counter::kClosedIdle);
      return destroy(connection, thread);
    case ConnectionState::kHandshaking:
    case ConnectionState::kNew:
    case ConnectionState::kReadingHead:
      connection.set_deadline(
          std::min(connection.get_deadline(), connection.began + kUnspokenGrace));
      return arm(connection, thread);
    case ConnectionState::kMultiplexed:
      return thread.drain_multiplexed(connection);
    case ConnectionState::kReadingBody:
    case ConnectionState::kHandling:
    case ConnectionState::kQueued:
    case ConnectionState::kFlushing:
    case ConnectionState::kLingering:
    case ConnectionState::kClosed:
      return;
  }
}

void Poller::sweep_forced(Connection& connection, EngineThread& thread) {
  const std::uint32_t flags = connection.flags.load(std::memory_order_acquire);
  const bool waited = (flags & Connection::kQueued) && end_queueing(connection, QueuePass::kNone);
  if ((flags & Connection::kOwnedByHandler) && !waited) {
    const std::uint32_t before = connection.flags.fetch_or(Connection::kForcedDown);
    if (before & Connection::kForcedDown) return;
    if (!(before & Connection::kHijacked)) {  // else the registry cuts and counts it
      thread.counters.add(Counter::kForced);
      ::shutdown(connection.fd.get(), SHUT_RDWR);
    }
    return connection.request_stop();
  }
  const bool streams = connection.http2 && connection.http2->busy();
  const bool had_work = waited || streams || connection.state == ConnectionState::kReadingBody ||
                        connection.state == ConnectionState::kFlushing;
  thread.counters.add(had_work ? Counter::kForced : Counter::kClosedIdle);
  destroy(connection, thread);
}

}  // namespace vigil::http
