#include "server-core/request_trace.h"

#include <algorithm>

#include "server-core/connection.h"
#include "server-core/http2_exchange.h"

namespace vigil::http {
namespace {

using sampler::TraceEvent;
using sampler::TraceKind;
using sampler::TraceResponse;

std::int64_t ns_of(MonotonicTime time) { return time.time_since_epoch().count(); }

// Connections have their numbers from the first trace that sees them on.
std::uint64_t number_of(Connection& connection) {
  if (connection.trace_id == 0) connection.trace_id = sampler::trace::new_id();
  return connection.trace_id;
}

std::uint64_t request_id(Connection& connection) {
  return sampler::trace_request_id(number_of(connection), connection.requests);
}

TraceResponse response_of(Exchange::Ending::Response response) {
  switch (response) {
    case Exchange::Ending::Response::kSent:
      return TraceResponse::kSent;
    case Exchange::Ending::Response::kWaits:
      return TraceResponse::kWaits;
    case Exchange::Ending::Response::kCut:
      return TraceResponse::kCut;
    case Exchange::Ending::Response::kHijacked:
      return TraceResponse::kHijacked;
  }
  return TraceResponse::kSent;
}

void set_method(TraceEvent& event, std::string_view method) {
  method = method.substr(0, event.method.size());
  std::copy(method.begin(), method.end(), event.method.begin());
}

}  // namespace

void trace_accept(Connection& connection, MonotonicTime now) {
  sampler::trace::emit({.kind = TraceKind::kAccept,
                        .begin_ns = ns_of(connection.began),
                        .end_ns = ns_of(now),
                        .connection = number_of(connection)});
}

void trace_queued(Connection& connection, MonotonicTime now) {
  sampler::trace::emit(
      {.kind = TraceKind::kQueued, .begin_ns = ns_of(now), .id = request_id(connection)});
}

void trace_request(Connection& connection, Exchange& exchange, const Exchange::Ending& ending,
                   const RequestTimes& times, leakwatch::TaskId task, MonotonicTime now) {
  const Request& request = exchange.request();
  const bool ran = times.handler != MonotonicTime{};
  TraceEvent event{.kind = TraceKind::kRequest,
                   .response = response_of(ending.response),
                   .status = static_cast<std::uint16_t>(exchange.response().status_code()),
                   .begin_ns = ns_of(connection.began),
                   .end_ns = ns_of(now),
                   .id = request_id(connection),
                   .name = request.route(),
                   .connection = number_of(connection),
                   .task = ran ? static_cast<std::uint64_t>(task) : 0,
                   .heard_ns = connection.requests == 1 ? ns_of(connection.heard) : 0,
                   .head_ns = ns_of(request.start_time()),
                   .queue_ns = ns_of(times.queued),
                   .handler_ns = ns_of(times.handler),
                   .handled_ns = ran ? ns_of(times.handled) : 0};
  set_method(event, request.method());
  sampler::trace::emit(event);
}

TraceEvent stream_event(Http2Exchange& exchange, const RequestTimes& times,
                        leakwatch::TaskId task) {
  const Request& request = exchange.request();
  const Http2Stream& stream = exchange.stream();
  const std::uint64_t connection = exchange.connection().trace_number();
  const bool ran = times.handler != MonotonicTime{};
  TraceEvent event{
      .kind = TraceKind::kRequest,
      .response = TraceResponse::kSent,
      .status = static_cast<std::uint16_t>(exchange.response().status_code()),
      .begin_ns = ns_of(stream.began),
      .id = sampler::trace_request_id(connection, static_cast<std::uint64_t>(stream.id)),
      .name = request.route(),
      .connection = connection,
      .task = ran ? static_cast<std::uint64_t>(task) : 0,
      .head_ns = ns_of(request.start_time()),
      .queue_ns = ns_of(stream.queued_at),
      .handler_ns = ns_of(times.handler),
      .handled_ns = ran ? ns_of(times.handled) : 0};
  set_method(event, request.method());
  return event;
}

void trace_flushed(Connection& connection, MonotonicTime now) {
  sampler::trace::emit(
      {.kind = TraceKind::kFlushed, .end_ns = ns_of(now), .id = request_id(connection)});
}

}  // namespace vigil::http
