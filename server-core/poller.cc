#include "server-core/poller.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "base/thread_id.h"
#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/http2_connection.h"

namespace vigil::http {
namespace {

// What epoll_event::data points to for what is not a connection.
constexpr std::uint64_t kWakeupTag = 1;
constexpr std::uint64_t kListenerTag = 2;

Connection& connection_of(TimerWheel::Node& node) {
  // The node is a member, and Connection has one layout only: the inverse of &connection.timer.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
  return *reinterpret_cast<Connection*>(reinterpret_cast<char*>(&node) -
                                        offsetof(Connection, timer));
#pragma GCC diagnostic pop
}

}  // namespace

Poller::Poller(Engine& engine, std::size_t index)
    : engine_(engine), index_(index), load_(engine.clock.now()), wheel_(engine.clock.now()) {}

Poller::~Poller() {
  // Only a server that was never started has anything here.
  while (Connection* connection = inbox_.pop_front()) delete connection;
  free_dead();
}

Result<void> Poller::open() {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return Error::from_errno("epoll_create1", errno);
  wakeup_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakeup_) return Error::from_errno("eventfd", errno);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kWakeupTag;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wakeup_.get(), &event) != 0) {
    return Error::from_errno("epoll_ctl", errno);
  }
  return {};
}

int Poller::watch_listener(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kListenerTag;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void Poller::unwatch_listener(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

// --- From any thread.

void Poller::give(Connection& connection) {
  {
    std::lock_guard lock(inbox_mutex_);
    inbox_.push_back(connection);
  }
  wake();
}

void Poller::wake() {
  // Edge-triggered and never read: each write is an event. At 2^64-1 it would fail with EAGAIN.
  const std::uint64_t one = 1;
  while (::write(wakeup_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

bool Poller::rescue(std::uint64_t seen) {
  EngineThread* follower = engine_.pool.take("work");
  if (follower == nullptr) return false;
  HandlerProfile* profile = inline_profile_.load(std::memory_order_relaxed);
  if (!turn_.compare_exchange_strong(seen, seen + 1)) {
    engine_.pool.put_back(*follower);
    return false;
  }
  profile->record_rescue();
  engine_.pool.run(*follower, *this);
  return true;
}

// --- The turn.

std::uint64_t Poller::begin_inline(HandlerProfile& profile, Connection& connection) {
  inline_profile_.store(&profile, std::memory_order_relaxed);
  taken_along_ = &connection;
  // Sequentially consistent, against Monitor::asleep_: either we see it asleep, or it sees the
  // turn.
  return turn_.fetch_add(1) + 1;
}

void Poller::change_inline_profile(HandlerProfile& profile) {
  inline_profile_.store(&profile, std::memory_order_relaxed);
}

bool Poller::end_inline(std::uint64_t turn) {
  if (!turn_.compare_exchange_strong(turn, turn + 1)) return false;
  taken_along_ = nullptr;
  return true;
}

// --- The leader's loop.

void Poller::lead(EngineThread& thread) {
  leader_.store(current_thread_id(), std::memory_order_relaxed);
  thread.read_clock();
  if (taken_along_ != nullptr) {
    Connection& connection = *std::exchange(taken_along_, nullptr);
    if (connection.http2) {
      thread.resume_multiplexed(connection);
      if (!thread.leads(*this)) return;
    } else {
      arm(connection, thread);
    }
  }
  while (true) {
    if (!drain_batch(thread)) return;
    if (woken_ && !drain_inbox(thread)) return;
    run_timers(thread);
    free_dead();
    if (finished()) return;
    wait(thread);
  }
}

void Poller::wait(EngineThread& thread) {
  MonotonicTime next = wheel_.next_look();
  if (index_ == 0) next = std::min(next, engine_.acceptor.resume_at());
  // Where a handler has run, the clock has been read at its end.
  if (thread.now() == load_.last_wake()) thread.read_clock();
  load_.begin_wait(thread.now());
  event_next_ = 0;
  event_count_ =
      epoll_wait(epoll_.get(), events_.data(), kBatch, poll_timeout_ms(thread.now(), next));
  load_.end_wait(thread.read_clock());
}

// false, here and below: the thread leads no more, and nothing of the poller may be touched.
bool Poller::drain_batch(EngineThread& thread) {
  while (event_next_ < event_count_) {
    const epoll_event& event = events_[static_cast<std::size_t>(event_next_++)];
    if (event.data.u64 == kWakeupTag) {
      woken_ = true;
    } else if (event.data.u64 == kListenerTag) {
      engine_.acceptor.on_readable(thread);
    } else {
      dispatch(*static_cast<Connection*>(event.data.ptr), event.events, thread);
      if (!thread.leads(*this)) return false;
    }
  }
  return true;
}

bool Poller::drain_inbox(EngineThread& thread) {
  Listings asked;
  PassOn order;
  while (true) {
    if (adopting_.empty()) {
      std::lock_guard lock(inbox_mutex_);
      std::swap(adopting_, inbox_);
      // Only now: who asks finds what had moved here by then.
      if (adopting_.empty()) asked.swap(listings_);
      if (adopting_.empty()) std::swap(order, ordered_);
    }
    Connection* connection = adopting_.pop_front();
    if (connection == nullptr) break;
    adopt(*connection, thread);
    if (!thread.leads(*this)) return false;  // woken_ is still set: the next leader goes on
  }
  woken_ = false;
  answer_listings(std::move(asked), thread);
  if (order.to != nullptr) begin_passing_on(order, thread);
  if (index_ == 0) engine_.acceptor.resume_if_paused(thread.now());
  if (engine_.going_down()) {
    sweep(thread);
  } else if (engine_.closes_idle()) {
    sweep_idle(thread);
  }
  return true;
}

void Poller::run_timers(EngineThread& thread) {
  if (index_ == 0 && thread.now() >= engine_.acceptor.resume_at())
    engine_.acceptor.resume(thread.now());
  while (TimerWheel::Node* node = wheel_.pop_due(thread.now())) {
    Connection& connection = connection_of(*node);
    if (connection.flags.load(std::memory_order_acquire) & Connection::kOwnedByHandler) {
      on_owned_deadline(connection, thread);
    } else if (connection.get_deadline() <= thread.now()) {
      thread.serve_deadline(connection);
    } else {
      arm(connection, thread);
    }
  }
}

// A handler has the connection. It may be in the act of leaving a new deadline behind; what it
// finds changed under it is the socket, which then answers to its reads and writes with an end.
void Poller::on_owned_deadline(Connection& connection, EngineThread& thread) {
  const bool late = connection.get_deadline() <= thread.now();
  if (connection.flags.load(std::memory_order_acquire) & Connection::kQueued) {
    if (!late) return arm(connection, thread);
    if (end_queueing(connection, QueuePass::kExpired)) return thread.serve_queued(connection);
    // It has its slot, and is in the inbox: not to be looked at before we have been there.
    return wheel_.arm(connection.timer, deadline_after(thread.now(), engine_.timeouts.shortest));
  }
  if (late && !connection.cut) {
    connection.cut = true;
    ::shutdown(connection.fd.get(), SHUT_RDWR);
    connection.request_stop();
  }
  arm(connection, thread);
}

// Takes the connection out of the queue of requests, if it is still there: it is ours again then.
bool Poller::end_queueing(Connection& connection, QueuePass pass) {
  if (!engine_.flight.take_back(connection)) return false;
  const std::uint32_t noted =
      connection.flags.fetch_and(Connection::kForcedDown, std::memory_order_acquire);
  if (noted & Connection::kPeerGone) connection.peer_gone = true;
  connection.pass = pass;
  return true;
}

void Poller::dispatch(Connection& connection, std::uint32_t events, EngineThread& thread) {
  std::uint32_t bits = 0;
  if (events & EPOLLIN) bits |= Connection::kReadable;
  if (events & EPOLLOUT) bits |= Connection::kWritable;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) bits |= Connection::kPeerGone;
  std::uint32_t flags = connection.flags.load(std::memory_order_acquire);
  while (flags & Connection::kOwnedByHandler) {
    // Nobody waits for its answer: its place is for one that somebody does.
    if ((flags & Connection::kQueued) && (bits & Connection::kPeerGone) &&
        end_queueing(connection, QueuePass::kNone)) {
      return thread.abandon_queued(connection);
    }
    if (connection.flags.compare_exchange_weak(flags, flags | bits)) {
      if (bits & Connection::kPeerGone) connection.request_stop();
      return;
    }
  }
  if (passing_.to != nullptr && passes_on(connection, thread)) [[unlikely]]
    return;
  process(connection, bits, thread);
}

void Poller::process(Connection& connection, std::uint32_t bits, EngineThread& thread) {
  if (connection.state == ConnectionState::kClosed) return;  // earlier in this batch
  // Its request may have come with the end of its sending side: the handler is told.
  if (bits & Connection::kPeerGone) {
    connection.peer_gone = true;
    connection.request_stop();
  }
  // Reading may have waited for the socket to take bytes, and writing for some to come.
  constexpr std::uint32_t kBoth = Connection::kReadable | Connection::kWritable;
  if (connection.channel && (bits & kBoth)) bits |= kBoth;
  if (connection.state == ConnectionState::kMultiplexed) bits |= kBoth;
  if (connection.state == ConnectionState::kFlushing) {
    if (bits & (Connection::kWritable | Connection::kPeerGone)) thread.serve_writable(connection);
  } else if (bits & (Connection::kReadable | Connection::kPeerGone)) {
    thread.serve_readable(connection);
  }
}

// Takes a connection out of the inbox: a new one, one of another poller, or one that comes back from a
// handler.
void Poller::adopt(Connection& connection, EngineThread& thread) {
  if (!connection.registered) {
    const bool moved = std::exchange(connection.moving, false);
    // One that has moved is counted by the sweep that follows.
    const bool too_late = engine_.phase() >= Phase::kForced && !moved;
    if (connection.state == ConnectionState::kClosed || too_late ||
        !register_connection(connection)) {
      thread.set_state(connection, ConnectionState::kClosed);
      return destroy(connection, thread);
    }
    arm(connection, thread);
    // epoll reports at once what is there already; but not what a channel or a session has kept.
    if (moved) process(connection, Connection::kReadable | Connection::kWritable, thread);
    return;
  }
  const bool hijacked = connection.flags.load(std::memory_order_acquire) & Connection::kHijacked;
  // The handler goes on with a descriptor of its own. The socket must be closed for good as soon as
  // the handler closes that.
  if (hijacked && connection.fd) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.fd.get(), nullptr);
    connection.fd.reset();
    const std::uint32_t before = connection.flags.fetch_or(Connection::kForgotten);
    if (!(before & Connection::kHandlerEnded)) return;  // it gives the connection back
  }
  const std::uint32_t noted =
      connection.flags.fetch_and(Connection::kForcedDown, std::memory_order_acquire);
  if (connection.state == ConnectionState::kClosed) return destroy(connection, thread);
  arm(connection, thread);
  if (connection.pass != QueuePass::kNone) {
    if (noted & Connection::kPeerGone) connection.peer_gone = true;
    return thread.serve_queued(connection);
  }
  // Events of the meantime were only noted. A look too many does no harm.
  process(connection, noted | Connection::kReadable | Connection::kWritable, thread);
}

bool Poller::register_connection(Connection& connection) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection.fd.get(), &event) != 0) {
    engine_.log.error("epoll_ctl", {{"errno", errno}});
    return false;
  }
  connection.registered = true;
  connection.list_next = connections_;
  if (connections_ != nullptr) connections_->list_previous = &connection;
  connections_ = &connection;
  return true;
}

void Poller::unregister(Connection& connection) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.fd.get(), nullptr);
  connection.registered = false;
  Connection*& to_it =
      connection.list_previous != nullptr ? connection.list_previous->list_next : connections_;
  to_it = connection.list_next;
  if (to_it != nullptr) to_it->list_previous = connection.list_previous;
  connection.list_next = connection.list_previous = nullptr;
}

void Poller::report_again(Connection& connection, std::uint32_t events) {
  epoll_event event{};
  // Input always: whoever has the connection next may wait for it without another call. And only
  // what a channel really waits for: an EPOLLOUT that holds would come at once, each time.
  static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT);
  const auto waited_for = static_cast<std::uint32_t>(
      static_cast<unsigned short>(connection.events_for(static_cast<short>(events))));
  event.events = EPOLLIN | waited_for | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.fd.get(), &event);
}

void Poller::report_soon(Connection& connection) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.fd.get(), &event);
}

void Poller::park(Connection& connection, EngineThread& thread) {
  connection.flags.store(0, std::memory_order_relaxed);
  arm(connection, thread);
}

// The wheel need only look early enough. While a handler's thread has the connection, that is
// within the shortest of the timeouts: whatever deadline it leaves behind, when it makes the
// connection idle without telling us, is at least that far away. (Where it could be nearer, it
// gives the connection through the inbox.)
void Poller::arm(Connection& connection, EngineThread& thread) {
  MonotonicTime look = connection.get_deadline();
  if (connection.flags.load(std::memory_order_relaxed) & Connection::kOwnedByHandler) {
    if (connection.cut) look = kNoDeadline;  // nothing more to do when it passes
    look = std::min(look, deadline_after(thread.now(), engine_.timeouts.shortest));
  }
  wheel_.arm(connection.timer, look);
}

void Poller::destroy(Connection& connection, EngineThread& thread) {
  thread.leave_http2(connection);
  wheel_.disarm(connection.timer);
  if (connection.registered) {
    // Closing alone would not do: a child between fork and exec holds the socket open, and its
    // events would go on coming for memory that is gone.
    unregister(connection);
  }
  thread.set_state(connection, ConnectionState::kClosed);
  connection.fd.reset();
  engine_.acceptor.restock();
  thread.announce(connection, ConnState::kClosed);
  connection.release_buffers();
  if (std::exchange(connection.keeps_buffers, false)) {
    engine_.kept_buffers.fetch_sub(1, std::memory_order_relaxed);
  }
  if (connection.counts_toward_limits) {
    engine_.filters.on_close(connection.peer);
    if (engine_.acceptor.paused()) engine_.pollers[0]->wake();
  } else {
    engine_.turned_away.fetch_sub(1, std::memory_order_relaxed);
  }
  dead_.push_back(connection);
  engine_.connection_destroyed();
}

void Poller::free_dead() {
  while (Connection* connection = dead_.pop_front()) delete connection;
}

bool Poller::finished() const {
  return connections_ == nullptr && engine_.phase() == Phase::kStopped;
}

}  // namespace vigil::http
