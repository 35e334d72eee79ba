// What the engine tells a trace (/debug/pprof/trace) of connections and requests. While nobody records, a request
// costs two loads and branches; while somebody does, two clock reads and one event, at its end.
//
// A request is told once, when its response is out, from times that the engine has anyhow: one that
// began before the trace is whole in it, therefore. Only what waits, in the queue for a slot or for a
// slow reader, is told before.
#pragma once

#include "base/clock.h"
#include "sampler/trace/trace_buffer.h"
#include "server-core/exchange.h"

namespace vigil::http {

struct Connection;
class Http2Exchange;

// Times that EngineThread notes for the request that it serves.
struct RequestTimes {
  MonotonicTime queued{};   // since when it waited for a slot; zero: it did not
  MonotonicTime handler{};  // when the root handler began; zero: it did not
  MonotonicTime handled{};  // when it had ended
};

// `connection` has been accepted at `connection.began`.
void trace_accept(Connection& connection, MonotonicTime now);

// Its request begins to wait for a slot.
void trace_queued(Connection& connection, MonotonicTime now);

// The exchange has ended so at `now`; `task` was its handler's, if it had one.
void trace_request(Connection& connection, Exchange& exchange, const Exchange::Ending& ending,
                   const RequestTimes& times, leakwatch::TaskId task, MonotonicTime now);

// What is told of a request on a stream of HTTP/2, but for its end: taken while the stream still has
// it, emitted when its response has been handed over to the session. From there the peer's window
// decides, which a trace does not show. Its id has the stream's number.
sampler::TraceEvent stream_event(Http2Exchange& exchange, const RequestTimes& times,
                                 leakwatch::TaskId task);

// The rest of its last response is out.
void trace_flushed(Connection& connection, MonotonicTime now);

}  // namespace vigil::http
