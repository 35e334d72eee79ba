// EngineThread's work on a connection: reading, requests, responses, and where the connection goes
// then. How it ends is in serve_end.cc.
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <utility>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/http2_connection.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

// Announced bodies up to this size are collected before the handler starts, so a slow one holds no
// thread.
constexpr std::uint64_t kCollectBytesMax = 64 * 1024;
// "GET / HTTP/1.0" and two line ends.
constexpr std::size_t kRequestBytesMin = 18;

}  // namespace

// --- Entry points, for a leader.

void EngineThread::serve_readable(Connection& connection) {
  settle(connection, attempt(connection, &EngineThread::read_and_serve));
}

void EngineThread::serve_writable(Connection& connection) {
  settle(connection, attempt(connection, &EngineThread::flush_output));
}

void EngineThread::serve_deadline(Connection& connection) {
  settle(connection, attempt(connection, &EngineThread::end_of_deadline));
}

void EngineThread::serve_queued(Connection& connection) {
  note_queue_wait(connection);
  if (connection.pass == QueuePass::kExpired) {
    counters.add(Counter::kQueueTimeouts);
    counters.add(Counter::kLimitInFlight);
  }
  settle(connection, attempt(connection, &EngineThread::serve_kept_and_read));
}

void EngineThread::abandon_queued(Connection& connection) {
  note_queue_wait(connection);
  counters.add(Counter::kQueueAbandoned);
  settle(connection, close(connection));
}

void EngineThread::turn_away(Connection& connection) {
  (void)attempt(connection, &EngineThread::turn_away_and_linger);
}

// P3.9: what cannot be allocated costs the connection that it was for, and nothing else.
EngineThread::Outcome EngineThread::attempt(Connection& connection, Step step) {
  try {
    return (this->*step)(connection);
  } catch (const std::bad_alloc&) {
    return on_no_memory(connection);
  }
}

EngineThread::Outcome EngineThread::on_no_memory(Connection& connection) {
  counters.add(Counter::kOutOfMemory);
  drop_turn();
  connection.end_stop_scope();
  if (std::exchange(connection.pass, QueuePass::kNone) == QueuePass::kGranted) {
    engine_.flight.leave();
  }
  return close(connection);
}

EngineThread::Outcome EngineThread::flush_output(Connection& connection) {
  while (connection.output_sent < connection.output.size()) {
    const ssize_t sent =
        connection.send(std::string_view(connection.output).substr(connection.output_sent));
    if (sent > 0) {
      counters.add(Counter::kBytesSent, sent);
      connection.output_sent += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN) {
      connection.poller->report_again(connection, EPOLLOUT);
      return Outcome::kElsewhere;
    } else if (errno != EINTR) {
      return close(connection);
    }
  }
  if (sampler::trace::recording()) [[unlikely]]
    trace_flushed(connection, engine_.clock.now());
  std::string().swap(connection.output);
  connection.output_sent = 0;
  if (connection.close_after_flush) return linger(connection);
  if (connection.discard_left > 0) {
    set_state(connection, ConnectionState::kDiscarding);
    connection.set_deadline(deadline_after(connection.began, engine_.timeouts.read));
    return discard_body(connection);
  }
  connection.began = now_;
  return serve_kept_and_read(connection);
}

// Goes on with what the connection has kept, then with what came while it was busy: that has had
// its event.
EngineThread::Outcome EngineThread::serve_kept_and_read(Connection& connection) {
  Outcome outcome = Outcome::kNeedMore;
  if (connection.flags.load(std::memory_order_relaxed) & Connection::kForcedDown) {
    if (std::exchange(connection.pass, QueuePass::kNone) == QueuePass::kGranted) {
      engine_.flight.leave();
    }
    return close(connection);
  }
  if (connection.input.empty()) {
    become_idle(connection);
  } else {
    outcome = serve_kept(connection);
  }
  return outcome == Outcome::kNeedMore ? read_and_serve(connection) : outcome;
}

EngineThread::Outcome EngineThread::end_of_deadline(Connection& connection) {
  switch (connection.state) {
    case ConnectionState::kHandshaking:
      return end_of_handshake_time(connection);
    case ConnectionState::kReadingHead:
    case ConnectionState::kReadingBody: {
      const bool body = connection.state == ConnectionState::kReadingBody;
      counters.add(body ? Counter::kTimeoutRead : Counter::kTimeoutReadHeader);
      if (engine_.going_down()) break;  // P4.2: served whole or closed silently
      send_refusal(connection, {408, body ? "the request's body came too slowly"
                                          : "the request's head came too slowly"});
      return linger(connection);
    }
    case ConnectionState::kNew:
      counters.add(Counter::kTimeoutReadHeader);
      return close_in_order(connection);
    case ConnectionState::kIdle:
      if (connection.keeps_buffers) return become_quiet(connection);
      counters.add(Counter::kTimeoutIdle);
      return close_in_order(connection);
    case ConnectionState::kFlushing:
      counters.add(Counter::kTimeoutWrite);
      break;
    case ConnectionState::kDiscarding:
      counters.add(Counter::kTimeoutRead);
      break;
    case ConnectionState::kMultiplexed:
      return watch_http2(connection);
    case ConnectionState::kHandling:
    case ConnectionState::kQueued:
    case ConnectionState::kLingering:
    case ConnectionState::kClosed:
      break;
  }
  return close(connection);
}

// Gives the connection to whoever has it next: the poller, if this thread still leads it; if not,
// and something came in meanwhile, this thread goes on with it.
void EngineThread::settle(Connection& connection, Outcome outcome) {
  while (outcome != Outcome::kParked) {
    if (leads(*connection.poller)) {
      if (connection.state == ConnectionState::kClosed) {
        connection.poller->destroy(connection, *this);
      } else {
        connection.poller->park(connection, *this);
      }
      return;
    }
    if (connection.state != ConnectionState::kIdle || outcome != Outcome::kNeedMore) {
      return give_back(connection);
    }
    if (release(connection)) return;
    outcome = attempt(connection, &EngineThread::read_and_serve);
  }
}

// Makes an idle connection the leader's without waking it: it will see the next event. false if one
// came meanwhile.
bool EngineThread::release(Connection& connection) {
  Poller& poller = *connection.poller;
  std::uint32_t expected = Connection::kOwnedByHandler;
  while (!connection.flags.compare_exchange_weak(expected, 0)) {
    constexpr std::uint32_t kNews =
        Connection::kReadable | Connection::kPeerGone | Connection::kForcedDown;
    if (expected & kNews) {
      if (expected & Connection::kPeerGone) connection.peer_gone = true;
      connection.flags.fetch_and(~(Connection::kReadable | Connection::kPeerGone));
      return false;
    }
  }
  // The connection is not ours any more. If idle ones are to be closed, the leader may have looked
  // at it while it was busy: have it look again.
  if (engine_.closes_idle()) poller.wake();
  return true;
}

// --- Reading.

EngineThread::Outcome EngineThread::read_and_serve(Connection& connection) {
  if (connection.flags.load(std::memory_order_relaxed) & Connection::kForcedDown) {
    return close(connection);
  }
  if (connection.state == ConnectionState::kDiscarding) return discard_body(connection);
  if (connection.state == ConnectionState::kLingering) return discard_lingering(connection);
  if (connection.state == ConnectionState::kHandshaking) {
    if (const Outcome shaken = shake_hands(connection); shaken != Outcome::kNext) return shaken;
  }
  if (connection.state == ConnectionState::kMultiplexed) return serve_multiplexed(connection);
  for (int reads = 0; reads < kReadsMax; ++reads) {
    const ssize_t got = connection.receive(scratch_.get(), kScratchBytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return wait_for_input(connection);
    // P1.21: nothing is answered to half a request.
    if (got <= 0) return got == 0 ? close_in_order(connection) : close(connection);
    const auto size = static_cast<std::size_t>(got);
    counters.add(Counter::kBytesReceived, got);
    if (connection.state == ConnectionState::kIdle) connection.began = now_;
    if (connection.state == ConnectionState::kNew) connection.heard = now_;

    Outcome outcome;
    if (connection.input.empty()) {
      outcome = serve_input(connection, {scratch_.get(), size});
    } else {
      connection.input.append(scratch_.get(), size);
      outcome = serve_kept(connection);
    }
    if (outcome != Outcome::kNeedMore) return outcome;
    // A short read has emptied the socket, and what comes later has its own event; but not the end
    // of the peer's side, if that has been reported already, nor what a channel or a body's reader
    // has left behind.
    if (size < kScratchBytes && !connection.peer_gone && !connection.has_pending()) {
      // Inside a request, or where no whole one can have been, we have the kernel say so (P3.5).
      if (connection.state != ConnectionState::kIdle || size < kRequestBytesMin) {
        connection.poller->report_again(connection, EPOLLIN);
      }
      return Outcome::kNeedMore;
    }
  }
  connection.poller->report_again(connection, EPOLLIN);
  return Outcome::kNeedMore;
}

// All that came has been read. A channel may have had its own use for what looked like a request to
// Poller::close_if_idle().
EngineThread::Outcome EngineThread::wait_for_input(Connection& connection) {
  connection.poller->report_again(connection, EPOLLIN);
  if (!connection.channel || connection.state != ConnectionState::kIdle || !engine_.closes_idle()) {
    return Outcome::kNeedMore;
  }
  counters.add(Counter::kClosedIdle);
  return close_in_order(connection);
}

// Goes on with what the connection has kept.
EngineThread::Outcome EngineThread::serve_kept(Connection& connection) {
  if (connection.state == ConnectionState::kReadingBody) {
    if (connection.input.size() < connection.input_needed) return Outcome::kNeedMore;
    connection.scanner = HeadScanner();  // the head is parsed again: it is in another place now
  }
  held_ = std::move(connection.input);
  connection.input.clear();
  return serve_input(connection, held_);
}

// Serves all requests that are whole in `input`, which is this thread's scratch_ or held_.
EngineThread::Outcome EngineThread::serve_input(Connection& connection, std::string_view input) {
  while (!input.empty()) {
    const Outcome outcome = serve_head(connection, input);
    if (outcome != Outcome::kNext) return outcome;
    connection.began = now_;
  }
  become_idle(connection);
  return Outcome::kNeedMore;
}

// Keeps what is not a whole request yet in the connection.
void EngineThread::keep_input(Connection& connection, std::string_view input) {
  const bool in_held = input.data() >= held_.data() && input.data() < held_.data() + held_.size();
  if (!in_held) {
    connection.input.assign(input);
    return;
  }
  held_.erase(0, static_cast<std::size_t>(input.data() - held_.data()));
  connection.input.swap(held_);
  held_.clear();
}

EngineThread::Outcome EngineThread::serve_head(Connection& connection, std::string_view& input) {
  RequestParser::Status status = RequestParser::Status::kIncomplete;
  const Preface preface =
      connection.requests == 0 ? compare_with_preface(connection, input) : Preface::kOther;
  if (preface == Preface::kWhole) return begin_http2(connection, input);
  if (preface == Preface::kRefused) return refuse(connection, {400, "only HTTP/2 is served here"});
  if (preface == Preface::kOther) status = parser_.parse(input, connection.scanner);
  switch (status) {
    case RequestParser::Status::kRefused:
      return refuse(connection, parser_.refusal());
    case RequestParser::Status::kIncomplete:
      set_state(connection, ConnectionState::kReadingHead);
      connection.set_deadline(deadline_after(connection.began, engine_.timeouts.read_header));
      keep_input(connection, input);
      return Outcome::kNeedMore;
    case RequestParser::Status::kComplete:
      break;
  }
  const Framing& framing = parser_.framing();
  const std::uint64_t body_max = engine_.options.max_body_bytes;
  if (body_max != 0 && framing.content_length > body_max) {
    return refuse(connection, {413, "the request's body is too long"});
  }
  const bool collect = framing.content_length <= kCollectBytesMax && !framing.expect_continue;
  if (collect && input.size() - parser_.head_bytes() < framing.content_length) {
    connection.input_needed = parser_.head_bytes() + framing.content_length;
    set_state(connection, ConnectionState::kReadingBody);
    connection.set_deadline(deadline_after(connection.began, engine_.timeouts.read));
    keep_input(connection, input);
    return Outcome::kNeedMore;
  }
  return serve_request(connection, input);
}

EngineThread::Outcome EngineThread::serve_request(Connection& connection, std::string_view& input) {
  connection.scanner = HeadScanner();
  // As of the last event, the clock is good enough but for a trace.
  if (sampler::trace::recording()) [[unlikely]]
    read_clock();
  if (!exchange_.begin(connection, parser_.head(), parser_.framing(),
                       input.substr(parser_.head_bytes()))) {
    return refuse(connection, {400, "malformed request target"});
  }
  const QueuePass pass = std::exchange(connection.pass, QueuePass::kNone);
  if (pass == QueuePass::kNone) times_.queued = {};
  times_.handler = {};
  FlightLimit::Entry entry = FlightLimit::Entry::kRefused;
  if (pass == QueuePass::kNone) {
    counters.add(Counter::kRequests);
    ++connection.requests;
    entry = engine_.flight.enter();
    if (entry == FlightLimit::Entry::kReserved) return wait_in_queue(connection, input);
  }
  const std::uint32_t requests_max = engine_.options.max_requests_per_connection;
  if (requests_max != 0 && connection.requests >= requests_max) exchange_.response().close_after();
  set_state(connection, ConnectionState::kHandling);
  if (entry == FlightLimit::Entry::kAdmitted || pass == QueuePass::kGranted) {
    call_root_in_slot(connection, exchange_);
    exchange_.end_handler();
  } else {
    if (pass == QueuePass::kNone) counters.add(Counter::kLimitInFlight);
    exchange_.response().headers().set("Retry-After", "1");
    write_error(exchange_.response(), 503, "too many requests in flight");
  }
  const Exchange::Ending ending = exchange_.finish(now_);
  // Not what was cut at the deadline, nor what the registry of hijacked connections counts.
  if (engine_.phase() == Phase::kDraining &&
      ending.response != Exchange::Ending::Response::kHijacked) {
    counters.add(Counter::kDrained);
  }
  if (sampler::trace::recording()) [[unlikely]] {
    trace_request(connection, exchange_, ending, times_,
                  handler_task_.load(std::memory_order_relaxed), engine_.clock.now());
  }
  return after_response(connection, input, ending);
}

// A place in the queue has been reserved for the request, which `input` begins with. When it leaves
// the queue, it is parsed once more.
EngineThread::Outcome EngineThread::wait_in_queue(Connection& connection, std::string_view input) {
  try {
    keep_input(connection, input);
  } catch (const std::bad_alloc&) {
    engine_.flight.cancel_reservation();
    throw;
  }
  counters.add(Counter::kQueued);
  set_state(connection, ConnectionState::kQueued);
  connection.set_deadline(deadline_after(now_, engine_.options.queue_timeout));
  if (sampler::trace::recording()) [[unlikely]]
    trace_queued(connection, now_);
  connection.flags.fetch_or(Connection::kOwnedByHandler | Connection::kQueued);
  // Another thread than the leader has the connection on the wheel already, within queue_timeout.
  if (leads(*connection.poller)) connection.poller->watch_queued(connection, *this);
  if (engine_.flight.park(connection) == FlightLimit::Parked::kHasSlot)
    (void)connection.take_slot();
  return Outcome::kParked;
}

void EngineThread::note_queue_wait(const Connection& connection) {
  const MonotonicTime entered = connection.get_deadline() - engine_.options.queue_timeout;
  times_.queued = entered;
  counters.add(Counter::kQueueWaitNs, (now_ - entered).count());
}

// --- After a response.

EngineThread::Outcome EngineThread::after_response(Connection& connection, std::string_view& input,
                                                   const Exchange::Ending& ending) {
  using Response = Exchange::Ending::Response;
  if (ending.response == Response::kCut) return close(connection);
  if (ending.response == Response::kHijacked) return Outcome::kElsewhere;  // closed, for us
  connection.discard_left = ending.discard;
  if (ending.response == Response::kWaits) {
    // The write deadline stays the connection's.
    connection.close_after_flush = ending.close;
    if (!ending.close) keep_input(connection, exchange_.rest());
    set_state(connection, ConnectionState::kFlushing);
    connection.poller->report_again(connection, EPOLLOUT);
    return Outcome::kElsewhere;
  }
  if (ending.close) return ending.linger ? linger(connection) : close_in_order(connection);
  if (ending.discard > 0) {
    set_state(connection, ConnectionState::kDiscarding);
    connection.set_deadline(deadline_after(connection.began, engine_.timeouts.read));
    return discard_body(connection);
  }
  input = exchange_.rest();
  if (!input.empty() && exchange_.owns(input)) {
    // Behind a chunked body: the exchange needs its buffer for the next one.
    held_.assign(input);
    input = held_;
  }
  return Outcome::kNext;
}

void EngineThread::become_idle(Connection& connection) {
  set_state(connection, ConnectionState::kIdle);
  if (connection.channel && keep_buffers(connection)) {
    connection.set_deadline(now_ + kQuietTime);
  } else {
    connection.set_deadline(deadline_after(now_, engine_.timeouts.idle));
  }
  connection.release_buffers();
}

}  // namespace vigil::http
