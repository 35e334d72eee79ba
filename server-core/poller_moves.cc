// How connections move from one poller to another (Balancer).
//
// A connection moves when it has an event, so that those move that have work, and no list is walked. Its
// leader owns it then, so that nobody else has the pointer: no handler, no queue of requests; streams of HTTP/2
// go through their Http2Connection's mutex. It is taken out of epoll, wheel and list, and goes through the
// other poller's inbox, as newcomers do. The event is not lost: what the socket holds is looked at there.
#include <sys/epoll.h>

#include <utility>

#include "server-core/balancer.h"
#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/http2_connection.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

// Between requests, or before the first. A request that is half there is soon whole, and what waits for a
// slow reader is no load.
bool may_move(ConnectionState state) {
  switch (state) {
    case ConnectionState::kHandshaking:
    case ConnectionState::kNew:
    case ConnectionState::kIdle:
    case ConnectionState::kMultiplexed:
      return true;
    case ConnectionState::kReadingHead:
    case ConnectionState::kReadingBody:
    case ConnectionState::kHandling:
    case ConnectionState::kQueued:
    case ConnectionState::kFlushing:
    case ConnectionState::kDiscarding:
    case ConnectionState::kLingering:
    case ConnectionState::kClosed:
      return false;
  }
  return false;
}

}  // namespace

void Poller::pass_on(const PassOn& order) {
  {
    std::lock_guard lock(inbox_mutex_);
    ordered_ = order;
  }
  wake();
}

// With the leader's clock, not that of the order: it may come to it late.
void Poller::begin_passing_on(const PassOn& order, const EngineThread& thread) {
  passing_ = order;
  passing_credit_ = 0;
  passing_until_ = thread.now() + Balancer::kWindow;
}

// It has an event, and no handler. Each is considered once in a round, so that the share is one of
// connections, not of events. The first one never goes: that with the most events is likely to be it, and
// where it is the only one that has any, the other poller would gain what this one loses.
bool Poller::passes_on(Connection& connection, EngineThread& thread) {
  if (thread.now() >= passing_until_) {
    passing_ = {};
    return false;
  }
  if (connection.move_round == passing_.round || !may_move(connection.state)) return false;
  connection.move_round = passing_.round;
  passing_credit_ += passing_.share;
  if (passing_credit_ < 1 || !move(connection, *passing_.to, thread)) return false;
  passing_credit_ -= 1;
  return true;
}

// false: everybody shall stay where he is.
bool Poller::move(Connection& connection, Poller& to, EngineThread& thread) {
  const auto way = engine_.moves.try_enter();
  if (!way || engine_.closes_idle()) return false;
  wheel_.disarm(connection.timer);
  unregister(connection);
  connection.moving = true;
  if (connection.http2) {
    connection.http2->change_poller(to);
  } else {
    connection.poller = &to;
  }
  thread.counters.add(Counter::kMoved);
  to.give(connection);
  return true;
}

}  // namespace vigil::http
