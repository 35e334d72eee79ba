// EngineThread's work on a connection that carries many streams (HTTP/2).
#include <new>
#include <utility>

#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/http2_exchange.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

// Reads in a row from one connection before others get their turn.
constexpr int kReadsMax = 16;
// Answers wait for each other's company as long as they come fast.
constexpr Duration kBatchTime = HandlerProfile::kShort;

}  // namespace

void EngineThread::Http2ExchangeDelete::operator()(Http2Exchange* exchange) const noexcept {
  delete exchange;
}

// What a new connection's first bytes are to HTTP/2's preface. The preface is no request of HTTP/1.1,
// so what may become it must wait for its end.
EngineThread::Preface EngineThread::compare_with_preface(const Connection& connection,
                                                         std::string_view input) const {
  const Preface other =
      engine_.options.http1 == Http1::kRefused ? Preface::kRefused : Preface::kOther;
  if (connection.channel) {
    // Agreed upon: what does not begin with the preface is an error that the session answers.
    return connection.channel->protocol() == "h2" ? Preface::kWhole : other;
  }
  if (!engine_.options.http2_cleartext) return other;
  if (input.starts_with(kHttp2Preface)) return Preface::kWhole;
  return kHttp2Preface.starts_with(input) ? Preface::kPart : other;
}

void EngineThread::resume_multiplexed(Connection& connection) {
  settle(connection, attempt(connection, &EngineThread::serve_multiplexed));
}

void EngineThread::drain_multiplexed(Connection& connection) {
  connection.http2->drain(*this);
  connection.poller->report_soon(connection);  // there may be nothing to wait for
}

// The connection speaks HTTP/2; `input` is what it has sent so far, from the preface on.
EngineThread::Outcome EngineThread::begin_http2(Connection& connection, std::string_view input) {
  prepare_context(connection);
  connection.http2 = std::make_shared<Http2Connection>(engine_, connection, now_);
  set_state(connection, ConnectionState::kMultiplexed);
  counters.add(Counter::kHttp2Connections);
  if (engine_.closes_idle()) connection.http2->drain(*this);
  connection.http2->take_input(input, *this);
  return serve_multiplexed(connection);
}

EngineThread::Outcome EngineThread::serve_multiplexed(Connection& connection) {
  // Our own reference: with the next leader the connection may go while our handler runs.
  const std::shared_ptr<Http2Connection> http2 = connection.http2;
  Http2Connection::Input input = Http2Connection::Input::kMore;
  http2->note_writable();
  for (int reads = 0;;) {
    if (!run_ready(connection, http2)) return Outcome::kParked;
    if (!http2->flush(*this)) return close(connection);
    if (http2->over(now_)) return end_http2(connection);
    if (http2->runnable()) continue;
    if (input == Http2Connection::Input::kGone) return close_in_order(connection);
    if (input == Http2Connection::Input::kEmpty || ++reads > kReadsMax) break;
    input = http2->receive({scratch_.get(), kScratchBytes}, *this);
  }
  // An edge that was swallowed comes back (P3.5), and what was left by kReadsMax.
  http2->watch_input();
  return watch_http2(connection);
}

// Its deadlines: acts on those that have passed, and says when to look again.
EngineThread::Outcome EngineThread::watch_http2(Connection& connection) {
  connection.set_deadline(connection.http2->look(*this));
  if (connection.http2->over(now_)) return end_http2(connection);
  announce(connection, connection.http2->busy() ? ConnState::kActive : ConnState::kIdle);
  return Outcome::kNeedMore;
}

EngineThread::Outcome EngineThread::end_http2(Connection& connection) {
  if (engine_.closes_idle()) counters.add(Counter::kClosedIdle);
  leave_http2(connection);
  return linger(connection);
}

// From here on no stream uses the connection.
void EngineThread::leave_http2(Connection& connection) {
  if (const auto http2 = std::exchange(connection.http2, nullptr)) http2->detach();
}

// Runs the handlers of the streams whose requests are there. false: this thread leads no more, and
// must not touch the connection; the next leader goes on with it.
bool EngineThread::run_ready(Connection& connection,
                             const std::shared_ptr<Http2Connection>& http2) {
  const Poller& poller = *connection.poller;  // with the next leader the connection may go
  MonotonicTime flushed = now_;
  while (Http2Stream* stream = http2->take_ready(*this)) {
    run_stream(connection, http2, *stream);
    if (!leads(poller)) return false;
    if (now_ - flushed < kBatchTime) continue;
    if (!http2->flush(*this)) return true;
    flushed = now_;
  }
  return true;
}

void EngineThread::run_stream(Connection& connection, const std::shared_ptr<Http2Connection>& http2,
                              Http2Stream& stream) {
  try {
    if (!http2_exchange_) http2_exchange_.reset(new Http2Exchange(*this));
    serve_stream(connection, http2, stream);
  } catch (const std::bad_alloc&) {
    counters.add(Counter::kOutOfMemory);
    drop_turn();
    if (stream.pass == QueuePass::kGranted) engine_.flight.leave();
    http2->give_up(stream);
  }
}

// Whether the stream's handler may run now, kAdmitted; whether it waits and must not be touched,
// kReserved; or is to be answered with 503.
FlightLimit::Entry EngineThread::admit_stream(Http2Connection& http2, Http2Stream& stream) {
  using Entry = FlightLimit::Entry;
  if (stream.pass == QueuePass::kGranted) return Entry::kAdmitted;
  Entry entry = Entry::kRefused;
  if (stream.pass == QueuePass::kExpired) {
    counters.add(Counter::kQueueTimeouts);
  } else {
    entry = engine_.flight.enter();
  }
  if (entry == Entry::kRefused) counters.add(Counter::kLimitInFlight);
  if (entry != Entry::kReserved) return entry;
  const bool waits = http2.wait_in_queue(stream, *this) == FlightLimit::Parked::kWaits;
  return waits ? Entry::kReserved : Entry::kAdmitted;
}

void EngineThread::serve_stream(Connection& connection,
                                const std::shared_ptr<Http2Connection>& http2,
                                Http2Stream& stream) {
  Http2Exchange& exchange = *http2_exchange_;
  if (stream.pass == QueuePass::kNone) counters.add(Counter::kHttp2Requests);
  struct Handling {
    CounterSet& counters;
    explicit Handling(CounterSet& set) : counters(set) { counters.add(Counter::kHttp2Handling); }
    ~Handling() { counters.add(Counter::kHttp2Handling, -1); }
  } handling(counters);
  times_.handler = {};
  if (!exchange.begin(http2, stream)) {
    counters.add(Counter::kBadRequests);
    write_error(exchange.response(), 400, "malformed request target");
  } else {
    switch (admit_stream(*http2, stream)) {
      case FlightLimit::Entry::kReserved:
        return exchange.put_back();
      case FlightLimit::Entry::kAdmitted:
        stream.pass = QueuePass::kNone;  // given up behind the handler, however that ends
        call_root_in_slot(connection, exchange);
        exchange.end_handler();
        break;
      case FlightLimit::Entry::kRefused:
        exchange.response().headers().set("Retry-After", "1");
        write_error(exchange.response(), 503, "too many requests in flight");
        break;
    }
  }
  if (engine_.phase() == Phase::kDraining) counters.add(Counter::kDrained);
  if (sampler::trace::recording()) [[unlikely]] {
    sampler::TraceEvent event =
        stream_event(exchange, times_, handler_task_.load(std::memory_order_relaxed));
    exchange.finish(now_);
    event.end_ns = engine_.clock.now().time_since_epoch().count();
    sampler::trace::emit(event);
  } else {
    exchange.finish(now_);
  }
}

}  // namespace vigil::http
