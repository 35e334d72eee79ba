// The tables of a server and of its handlers' timeouts.
#include <algorithm>

#include "endpoints/metric_fields.h"

namespace vigil::endpoints {
namespace {

using http::CloseClass;
using http::Http2Abuse;
using http::ServerStats;
using PoolStats = http::TimeoutPool::Stats;

std::uint64_t closed(const ServerStats& from, CloseClass close_class) {
  return from.websockets.closed[static_cast<std::size_t>(close_class)];
}

std::uint64_t abuse(const ServerStats& from, Http2Abuse kind) {
  return from.http2.abuse[static_cast<std::size_t>(kind)];
}

constexpr MetricFamily kTimedCalls{"vigil_handler_timeout_calls_total", MetricType::kCounter,
                                   "Handlers begun under a handler timeout."};
constexpr MetricFamily kTimedOut{"vigil_handler_timeouts_total", MetricType::kCounter,
                                 "Handlers answered for with 503 at their timeout."};
constexpr MetricFamily kTimedRefused{"vigil_handler_timeout_refused_total", MetricType::kCounter,
                                     "Requests refused for lack of a thread."};
constexpr MetricFamily kTimedRunning{"vigil_handler_timeout_running", MetricType::kGauge,
                                     "Handlers under a timeout that run now."};
constexpr MetricFamily kTimedLeaked{"vigil_handler_timeout_leaked", MetricType::kGauge,
                                    "Handlers that run now although they have timed out."};
constexpr MetricFamily kConnections{"vigil_http_connections", MetricType::kGauge,
                                    "Open connections by state.", "state"};
constexpr MetricFamily kHijackedNow{"vigil_http_hijacked_connections", MetricType::kGauge,
                                    "Connections that handlers have taken over and not closed."};
constexpr MetricFamily kHijacked{"vigil_http_hijacked_total", MetricType::kCounter,
                                 "Connections taken over by handlers."};
constexpr MetricFamily kAccepted{"vigil_http_connections_accepted_total", MetricType::kCounter,
                                 "Connections accepted."};
constexpr MetricFamily kAcceptErrors{"vigil_http_accept_errors_total", MetricType::kCounter,
                                     "Calls of accept that failed."};
constexpr MetricFamily kInFlight{"vigil_http_requests_in_flight", MetricType::kGauge,
                                 "Requests that are being handled now."};
constexpr MetricFamily kResponses{"vigil_http_responses_total", MetricType::kCounter,
                                  "Responses by status class, those of the engine itself included.",
                                  "code"};
constexpr MetricFamily kBadRequests{"vigil_http_bad_requests_total", MetricType::kCounter,
                                    "Malformed requests refused by the engine."};
constexpr MetricFamily kExceptions{"vigil_http_handler_exceptions_total", MetricType::kCounter,
                                   "Exceptions that reached the engine from a handler."};
constexpr MetricFamily kReceived{"vigil_http_received_bytes_total", MetricType::kCounter,
                                 "Bytes received on all connections."};
constexpr MetricFamily kSent{"vigil_http_sent_bytes_total", MetricType::kCounter,
                             "Bytes sent on all connections."};
constexpr MetricFamily kQueueWaiting{"vigil_http_queue_waiting", MetricType::kGauge,
                                     "Requests that wait for a slot, of HTTP/2 too."};
constexpr MetricFamily kQueueEntered{"vigil_http_queue_entered_total", MetricType::kCounter,
                                     "Requests that waited for a slot."};
constexpr MetricFamily kQueueTimedOut{"vigil_http_queue_timed_out_total", MetricType::kCounter,
                                      "Requests whose wait for a slot was too long."};
constexpr MetricFamily kQueueAbandoned{
    "vigil_http_queue_abandoned_total", MetricType::kCounter,
    "Requests whose client went away while they waited for a slot."};
constexpr MetricFamily kQueueWait{
    "vigil_http_queue_wait_seconds_total", MetricType::kCounter,
    "Time that requests waited for a slot, of all that have left the queue."};
constexpr MetricFamily kTimeouts{"vigil_http_timeouts_total", MetricType::kCounter,
                                 "Deadlines that passed, by phase.", "phase"};
constexpr MetricFamily kLimitHits{"vigil_http_limit_hits_total", MetricType::kCounter,
                                  "Connections and requests refused, by limit.", "limit"};
constexpr MetricFamily kHttp2Connections{"vigil_http2_connections_total", MetricType::kCounter,
                                         "Connections that spoke HTTP/2."};
constexpr MetricFamily kHttp2Requests{"vigil_http2_requests_total", MetricType::kCounter,
                                      "Streams of HTTP/2 that were handled."};
constexpr MetricFamily kHttp2PingTimeouts{
    "vigil_http2_ping_timeouts_total", MetricType::kCounter,
    "Connections closed because their peer did not answer a PING."};
constexpr MetricFamily kHttp2Abuse{
    "vigil_http2_abuse_total", MetricType::kCounter,
    "Connections ended for abuse, by kind; window_overflow and header_list count every event.",
    "kind"};
constexpr MetricFamily kHeadersRefused{
    "vigil_http_headers_refused_total", MetricType::kCounter,
    "Response header fields dropped because they held CR, LF, NUL or a bad name."};
constexpr MetricFamily kHeadersLate{
    "vigil_http_headers_late_total", MetricType::kCounter,
    "Responses whose status or fields a handler changed when the head was out, in vain."};
constexpr MetricFamily kOutOfMemory{"vigil_http_out_of_memory_total", MetricType::kCounter,
                                    "Connections closed because the engine could not allocate."};
constexpr MetricFamily kHandlerRuns{
    "vigil_http_handler_runs_total", MetricType::kCounter,
    "How handlers ran: on the polling thread, or after handing polling over.", "mode"};
constexpr MetricFamily kRescued{"vigil_http_handlers_rescued_total", MetricType::kCounter,
                                "Handlers on the polling thread that polling was taken away from."};
constexpr MetricFamily kConnectionsMoved{
    "vigil_http_connections_moved_total", MetricType::kCounter,
    "Connections moved from a polling thread that had too much to do to another."};
constexpr MetricFamily kEngineThreads{"vigil_http_threads", MetricType::kGauge,
                                      "Threads of the engine."};
constexpr MetricFamily kHandshakes{"vigil_tls_handshakes_total", MetricType::kCounter,
                                   "TLS handshakes, by how they ended.", "result"};
constexpr MetricFamily kWebSockets{"vigil_websockets", MetricType::kGauge,
                                   "WebSockets that are open."};
constexpr MetricFamily kWebSocketMessages{"vigil_websocket_messages_total", MetricType::kCounter,
                                          "Whole messages, by direction.", "direction"};
constexpr MetricFamily kWebSocketClosed{
    "vigil_websocket_closed_total", MetricType::kCounter,
    "WebSockets that have ended, by the class of the first close code; lost: none.", "class"};
constexpr MetricFamily kGoingDown{"vigil_http_shutdown_connections_total", MetricType::kCounter,
                                  "What became of connections when the server went down, by end.",
                                  "end"};

constexpr MetricField<PoolStats> kTimeoutPoolFields[] = {
    {"/calls", &kTimedCalls, "", [](const PoolStats& from) -> MetricNumber { return from.calls; }},
    {"/timed_out", &kTimedOut, "",
     [](const PoolStats& from) -> MetricNumber { return from.timed_out; }},
    {"/refused", &kTimedRefused, "",
     [](const PoolStats& from) -> MetricNumber { return from.refused; }},
    {"/running", &kTimedRunning, "",
     [](const PoolStats& from) -> MetricNumber { return from.running; }},
    {"/leaked", &kTimedLeaked, "",
     [](const PoolStats& from) -> MetricNumber { return from.leaked; }},
};

constexpr MetricField<ServerStats> kServerFields[] = {
    {"/connections/handshaking", &kConnections, "handshaking",
     [](const ServerStats& from) -> MetricNumber { return from.connections.handshaking; }},
    {"/connections/new", &kConnections, "new",
     [](const ServerStats& from) -> MetricNumber { return from.connections.fresh; }},
    {"/connections/reading_head", &kConnections, "reading_head",
     [](const ServerStats& from) -> MetricNumber { return from.connections.reading_head; }},
    {"/connections/reading_body", &kConnections, "reading_body",
     [](const ServerStats& from) -> MetricNumber { return from.connections.reading_body; }},
    {"/connections/handling", &kConnections, "handling",
     [](const ServerStats& from) -> MetricNumber { return from.connections.handling; }},
    {"/connections/queued", &kConnections, "queued",
     [](const ServerStats& from) -> MetricNumber { return from.connections.queued; }},
    {"/connections/flushing", &kConnections, "flushing",
     [](const ServerStats& from) -> MetricNumber { return from.connections.flushing; }},
    {"/connections/idle", &kConnections, "idle",
     [](const ServerStats& from) -> MetricNumber { return from.connections.idle; }},
    {"/connections/multiplexed", &kConnections, "multiplexed",
     [](const ServerStats& from) -> MetricNumber { return from.connections.multiplexed; }},
    {"/connections/lingering", &kConnections, "lingering",
     [](const ServerStats& from) -> MetricNumber { return from.connections.lingering; }},
    {"/connections/open", nullptr, "",
     [](const ServerStats& from) -> MetricNumber { return from.connections.open(); }},
    {"/connections/hijacked", &kHijackedNow, "",
     [](const ServerStats& from) -> MetricNumber { return from.connections.hijacked; }},
    {"/hijacked", &kHijacked, "",
     [](const ServerStats& from) -> MetricNumber { return from.hijacked; }},
    {"/accepted", &kAccepted, "",
     [](const ServerStats& from) -> MetricNumber { return from.accepted; }},
    {"/accept_errors", &kAcceptErrors, "",
     [](const ServerStats& from) -> MetricNumber { return from.accept_errors; }},
    {"/in_flight", &kInFlight, "",
     [](const ServerStats& from) -> MetricNumber {
       return from.connections.handling + from.http2.handling;
     }},
    {"/requests", nullptr, "",
     [](const ServerStats& from) -> MetricNumber { return from.requests; }},
    {"/status/1xx", &kResponses, "1xx",
     [](const ServerStats& from) -> MetricNumber { return from.status_classes[1]; }},
    {"/status/2xx", &kResponses, "2xx",
     [](const ServerStats& from) -> MetricNumber { return from.status_classes[2]; }},
    {"/status/3xx", &kResponses, "3xx",
     [](const ServerStats& from) -> MetricNumber { return from.status_classes[3]; }},
    {"/status/4xx", &kResponses, "4xx",
     [](const ServerStats& from) -> MetricNumber { return from.status_classes[4]; }},
    {"/status/5xx", &kResponses, "5xx",
     [](const ServerStats& from) -> MetricNumber { return from.status_classes[5]; }},
    {"/bad_requests", &kBadRequests, "",
     [](const ServerStats& from) -> MetricNumber { return from.bad_requests; }},
    {"/handler_exceptions", &kExceptions, "",
     [](const ServerStats& from) -> MetricNumber { return from.handler_exceptions; }},
    {"/bytes_received", &kReceived, "",
     [](const ServerStats& from) -> MetricNumber { return from.bytes_received; }},
    {"/bytes_sent", &kSent, "",
     [](const ServerStats& from) -> MetricNumber { return from.bytes_sent; }},
    {"/queue/waiting", &kQueueWaiting, "",
     [](const ServerStats& from) -> MetricNumber { return from.queue.waiting; }},
    {"/queue/entered", &kQueueEntered, "",
     [](const ServerStats& from) -> MetricNumber { return from.queue.entered; }},
    {"/queue/timed_out", &kQueueTimedOut, "",
     [](const ServerStats& from) -> MetricNumber { return from.queue.timed_out; }},
    {"/queue/abandoned", &kQueueAbandoned, "",
     [](const ServerStats& from) -> MetricNumber { return from.queue.abandoned; }},
    {"/queue/wait_seconds_total", &kQueueWait, "",
     [](const ServerStats& from) -> MetricNumber { return fractional_seconds(from.queue.waited); }},
    {"/timeouts/read_header", &kTimeouts, "read_header",
     [](const ServerStats& from) -> MetricNumber { return from.timeouts.read_header; }},
    {"/timeouts/read", &kTimeouts, "read",
     [](const ServerStats& from) -> MetricNumber { return from.timeouts.read; }},
    {"/timeouts/write", &kTimeouts, "write",
     [](const ServerStats& from) -> MetricNumber { return from.timeouts.write; }},
    {"/timeouts/idle", &kTimeouts, "idle",
     [](const ServerStats& from) -> MetricNumber { return from.timeouts.idle; }},
    {"/limits_hit/connections", &kLimitHits, "connections",
     [](const ServerStats& from) -> MetricNumber { return from.limits_hit.connections; }},
    {"/limits_hit/connections_per_ip", &kLimitHits, "connections_per_ip",
     [](const ServerStats& from) -> MetricNumber { return from.limits_hit.connections_per_ip; }},
    {"/limits_hit/in_flight", &kLimitHits, "in_flight",
     [](const ServerStats& from) -> MetricNumber { return from.limits_hit.in_flight; }},
    {"/limits_hit/threads", &kLimitHits, "threads",
     [](const ServerStats& from) -> MetricNumber { return from.limits_hit.threads; }},
    {"/limits_hit/descriptors", &kLimitHits, "descriptors",
     [](const ServerStats& from) -> MetricNumber { return from.limits_hit.descriptors; }},
    {"/limits_hit/filters", &kLimitHits, "filters",
     [](const ServerStats& from) -> MetricNumber { return from.limits_hit.filters; }},
    {"/limits_hit/peer_user", &kLimitHits, "peer_user",
     [](const ServerStats& from) -> MetricNumber { return from.limits_hit.peer_user; }},
    {"/limits_hit/accept_pauses", &kLimitHits, "accept_pauses",
     [](const ServerStats& from) -> MetricNumber { return from.limits_hit.accept_pauses; }},
    {"/http2/connections", &kHttp2Connections, "",
     [](const ServerStats& from) -> MetricNumber { return from.http2.connections; }},
    {"/http2/requests", &kHttp2Requests, "",
     [](const ServerStats& from) -> MetricNumber { return from.http2.requests; }},
    {"/http2/ping_timeouts", &kHttp2PingTimeouts, "",
     [](const ServerStats& from) -> MetricNumber { return from.http2.ping_timeouts; }},
    {"/http2/abuse/rapid_reset", &kHttp2Abuse, "rapid_reset",
     [](const ServerStats& from) -> MetricNumber { return abuse(from, Http2Abuse::kRapidReset); }},
    {"/http2/abuse/provoked_reset", &kHttp2Abuse, "provoked_reset",
     [](const ServerStats& from) -> MetricNumber {
       return abuse(from, Http2Abuse::kProvokedReset);
     }},
    {"/http2/abuse/continuation", &kHttp2Abuse, "continuation",
     [](const ServerStats& from) -> MetricNumber {
       return abuse(from, Http2Abuse::kContinuation);
     }},
    {"/http2/abuse/settings", &kHttp2Abuse, "settings",
     [](const ServerStats& from) -> MetricNumber { return abuse(from, Http2Abuse::kSettings); }},
    {"/http2/abuse/ping", &kHttp2Abuse, "ping",
     [](const ServerStats& from) -> MetricNumber { return abuse(from, Http2Abuse::kPing); }},
    {"/http2/abuse/empty_data", &kHttp2Abuse, "empty_data",
     [](const ServerStats& from) -> MetricNumber { return abuse(from, Http2Abuse::kEmptyData); }},
    {"/http2/abuse/priority", &kHttp2Abuse, "priority",
     [](const ServerStats& from) -> MetricNumber { return abuse(from, Http2Abuse::kPriority); }},
    {"/http2/abuse/window_update", &kHttp2Abuse, "window_update",
     [](const ServerStats& from) -> MetricNumber {
       return abuse(from, Http2Abuse::kWindowUpdate);
     }},
    {"/http2/abuse/window_overflow", &kHttp2Abuse, "window_overflow",
     [](const ServerStats& from) -> MetricNumber {
       return abuse(from, Http2Abuse::kWindowOverflow);
     }},
    {"/http2/abuse/header_list", &kHttp2Abuse, "header_list",
     [](const ServerStats& from) -> MetricNumber { return abuse(from, Http2Abuse::kHeaderList); }},
    {"/http2/abuse/header_bomb", &kHttp2Abuse, "header_bomb",
     [](const ServerStats& from) -> MetricNumber { return abuse(from, Http2Abuse::kHeaderBomb); }},
    {"/http2/abuse/unread", &kHttp2Abuse, "unread",
     [](const ServerStats& from) -> MetricNumber { return abuse(from, Http2Abuse::kUnread); }},
    {"/headers_refused", &kHeadersRefused, "",
     [](const ServerStats& from) -> MetricNumber { return from.headers_refused; }},
    {"/headers_late", &kHeadersLate, "",
     [](const ServerStats& from) -> MetricNumber { return from.headers_late; }},
    {"/out_of_memory", &kOutOfMemory, "",
     [](const ServerStats& from) -> MetricNumber { return from.out_of_memory; }},
    {"/ran_inline", &kHandlerRuns, "inline",
     [](const ServerStats& from) -> MetricNumber { return from.ran_inline; }},
    {"/ran_handed_over", &kHandlerRuns, "handed_over",
     [](const ServerStats& from) -> MetricNumber { return from.ran_handed_over; }},
    {"/rescued", &kRescued, "",
     [](const ServerStats& from) -> MetricNumber { return from.rescued; }},
    {"/connections_moved", &kConnectionsMoved, "",
     [](const ServerStats& from) -> MetricNumber { return from.connections_moved; }},
    {"/threads", &kEngineThreads, "",
     [](const ServerStats& from) -> MetricNumber { return from.threads_now; }},
    {"/going_down/drained", &kGoingDown, "drained",
     [](const ServerStats& from) -> MetricNumber { return from.going_down.drained; }},
    {"/going_down/closed_idle", &kGoingDown, "closed_idle",
     [](const ServerStats& from) -> MetricNumber { return from.going_down.closed_idle; }},
    {"/going_down/forced", &kGoingDown, "forced",
     [](const ServerStats& from) -> MetricNumber { return from.going_down.forced; }},
    {"/going_down/hijacked_closed", &kGoingDown, "hijacked_closed",
     [](const ServerStats& from) -> MetricNumber { return from.going_down.hijacked_closed; }},
    {"/going_down/hijacked_forced", &kGoingDown, "hijacked_forced",
     [](const ServerStats& from) -> MetricNumber { return from.going_down.hijacked_forced; }},
    {"/tls/handshakes", nullptr, "",
     [](const ServerStats& from) -> MetricNumber { return from.tls.handshakes; }},
    {"", &kHandshakes, "full",
     [](const ServerStats& from) -> MetricNumber {
       return from.tls.handshakes - std::min(from.tls.handshakes, from.tls.resumed);
     }},
    {"/tls/resumed", &kHandshakes, "resumed",
     [](const ServerStats& from) -> MetricNumber { return from.tls.resumed; }},
    {"/tls/failures", &kHandshakes, "failed",
     [](const ServerStats& from) -> MetricNumber { return from.tls.failures; }},
    {"/tls/timeouts", &kHandshakes, "timeout",
     [](const ServerStats& from) -> MetricNumber { return from.tls.timeouts; }},
    {"/tls/abandoned", &kHandshakes, "abandoned",
     [](const ServerStats& from) -> MetricNumber { return from.tls.abandoned; }},
    {"/websockets/open", &kWebSockets, "",
     [](const ServerStats& from) -> MetricNumber { return from.websockets.open; }},
    {"/websockets/opened", nullptr, "",
     [](const ServerStats& from) -> MetricNumber { return from.websockets.opened; }},
    {"/websockets/messages_in", &kWebSocketMessages, "in",
     [](const ServerStats& from) -> MetricNumber { return from.websockets.messages_in; }},
    {"/websockets/messages_out", &kWebSocketMessages, "out",
     [](const ServerStats& from) -> MetricNumber { return from.websockets.messages_out; }},
    {"/websockets/closed/normal", &kWebSocketClosed, "normal",
     [](const ServerStats& from) -> MetricNumber { return closed(from, CloseClass::kNormal); }},
    {"/websockets/closed/refused", &kWebSocketClosed, "refused",
     [](const ServerStats& from) -> MetricNumber { return closed(from, CloseClass::kRefused); }},
    {"/websockets/closed/error", &kWebSocketClosed, "error",
     [](const ServerStats& from) -> MetricNumber { return closed(from, CloseClass::kError); }},
    {"/websockets/closed/application", &kWebSocketClosed, "application",
     [](const ServerStats& from) -> MetricNumber {
       return closed(from, CloseClass::kApplication);
     }},
    {"/websockets/closed/lost", &kWebSocketClosed, "lost",
     [](const ServerStats& from) -> MetricNumber { return closed(from, CloseClass::kLost); }},
};

}  // namespace

std::span<const MetricField<ServerStats>> server_fields() { return kServerFields; }
std::span<const MetricField<PoolStats>> timeout_pool_fields() { return kTimeoutPoolFields; }

}  // namespace vigil::endpoints
