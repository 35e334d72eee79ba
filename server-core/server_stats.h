// What a server counts, and what shutdown() reports.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "leakwatch/task_registry.h"
#include "server-core/handler_metrics.h"
#include "server-core/http2_guard.h"
#include "server-core/websocket_counters.h"

namespace vigil::http {

// A snapshot. Counters since start() except where "now" is said. Read without a lock: the members
// are each right, but not of exactly the same moment.
struct ServerStats {
  struct ConnectionsNow {
    std::uint64_t handshaking = 0;  // TLS is not agreed upon yet
    std::uint64_t fresh = 0;        // accepted, not a byte yet
    std::uint64_t reading_head = 0;
    std::uint64_t reading_body =
        0;  // small bodies that the engine collects; streamed ones count as handling
    std::uint64_t handling = 0;
    std::uint64_t queued = 0;    // HTTP/1.x: the request waits for a slot
    std::uint64_t flushing = 0;  // the response waits for a slow reader
    std::uint64_t idle = 0;
    std::uint64_t multiplexed = 0;  // HTTP/2, whatever its streams do
    std::uint64_t lingering = 0;    // an error was answered; waiting for the client to close
    std::uint64_t hijacked = 0;     // with their new owners: not the server's, and not in open()
    std::uint64_t open() const {
      return handshaking + fresh + reading_head + reading_body + handling + queued + flushing +
             idle + multiplexed + lingering;
    }
  } connections;

  std::uint64_t accepted = 0;
  std::uint64_t accept_errors = 0;
  std::uint64_t requests = 0;                     // heads that were well-formed
  std::array<std::uint64_t, 6> status_classes{};  // [2] counts 2xx, …; responses of every origin
  std::uint64_t bad_requests = 0;  // malformed: 400, 413, 414, 417, 431, 501, 505 by the engine
  std::uint64_t handler_exceptions = 0;

  struct Timeouts {
    std::uint64_t read_header = 0;
    std::uint64_t read = 0;
    std::uint64_t write = 0;
    std::uint64_t idle = 0;
  } timeouts;

  // All zero without TLS.
  struct Tls {
    std::uint64_t handshakes = 0;  // that were finished
    std::uint64_t resumed = 0;     // of these, with a ticket of an earlier connection
    std::uint64_t failures = 0;    // not TLS, nothing in common, a certificate that does not verify
    std::uint64_t timeouts = 0;    // not finished at the deadline
    std::uint64_t abandoned = 0;   // the client left without a byte
    std::optional<WallTime> certificate_expires;  // the first of those in use
  } tls;

  struct LimitsHit {
    std::uint64_t connections = 0;
    std::uint64_t connections_per_ip = 0;
    std::uint64_t in_flight = 0;
    std::uint64_t threads = 0;        // 503 because no thread could be had
    std::uint64_t descriptors = 0;    // newcomers closed because of EMFILE
    std::uint64_t filters = 0;        // newcomers turned away by the program's own filters
    std::uint64_t peer_user = 0;      // connections to the Unix socket of another user, dropped
    std::uint64_t accept_pauses = 0;  // times that accepting stopped because a filter said so
  } limits_hit;

  // Requests that waited for a slot (ServerOptions::max_queue). Those that found the queue full are
  // in limits_hit.in_flight, as are those whose wait was over.
  struct Queue {
    std::uint64_t waiting = 0;  // now, requests of HTTP/1.x and streams of HTTP/2
    std::uint64_t entered = 0;
    std::uint64_t timed_out = 0;
    std::uint64_t abandoned = 0;  // the client went away while its request waited
    Duration waited{0};           // by all that left it, in whatever way
  } queue;

  struct Http2 {
    std::uint64_t handling = 0;  // streams in handlers, now
    std::uint64_t connections = 0;
    std::uint64_t requests = 0;       // also in ServerStats::requests
    std::uint64_t ping_timeouts = 0;  // connections closed because a PING was not answered
    // By Http2Abuse: connections ended for it; of window_overflow and header_list every time.
    std::array<std::uint64_t, kHttp2AbuseKinds> abuse{};
  } http2;

  std::uint64_t out_of_memory = 0;  // connections closed because the engine could not allocate

  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;

  // How handlers ran: on the polling thread, after handing polling over, and taken over by the
  // monitor.
  std::uint64_t ran_inline = 0;
  std::uint64_t ran_handed_over = 0;
  std::uint64_t rescued = 0;
  std::uint64_t threads_now = 0;
  std::uint64_t connections_moved = 0;  // from a poller that had too much to do to another

  // Requests whose root handler answered without a route: 404, middleware around the router, or no
  // router at all. Those of routes: Router::stats().
  HandlerStats unrouted;

  std::uint64_t headers_refused = 0;  // response fields with CR, LF or NUL that were dropped
  // Responses whose handler changed the status or a field after the head was out, in vain.
  std::uint64_t headers_late = 0;
  std::uint64_t hijacked = 0;  // connections that handlers took over
  WebSocketStats websockets;   // of these, those that became WebSockets

  // What became of the connections when the server went down, as in ShutdownReport; of close() too,
  // and closed_idle also of Server::set_keep_alives().
  struct GoingDown {
    std::uint64_t drained = 0;
    std::uint64_t closed_idle = 0;
    std::uint64_t forced = 0;
    std::uint64_t hijacked_closed = 0;
    std::uint64_t hijacked_forced = 0;
  } going_down;
};

// A handler that had not returned when the server went down.
struct RunningHandler {
  std::string label;         // the route's pattern; empty where no router was involved
  Duration age{0};           // since the handler began
  pid_t tid = 0;             // its thread, for a look at its stack
  leakwatch::TaskId task{};  // in the task registry; kNone if no router was involved
};

struct ShutdownReport {
  std::uint64_t drained = 0;            // requests in flight that finished
  std::uint64_t closed_idle = 0;        // connections closed between requests, or that never spoke
  std::uint64_t forced = 0;             // connections cut at the deadline
  std::uint64_t hijacked_closed = 0;    // hijacked connections that their owners closed in time
  std::uint64_t hijacked_forced = 0;    // hijacked connections cut at the deadline
  std::vector<RunningHandler> running;  // handlers that went on beyond the deadline
  bool complete() const { return forced == 0 && hijacked_forced == 0 && running.empty(); }
};

}  // namespace vigil::http
