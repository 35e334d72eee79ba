// ServerOptions: every limit and deadline of a server, each with what it protects from.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/text.h"
#include "server-core/conn_state.h"
#include "server-core/context.h"
#include "server-core/listener_filter.h"

namespace vigil::http {

class TlsContext;

// Whether connections carry more than one request: Server::set_keep_alives().
enum class KeepAlives : std::uint8_t { kEnabled, kDisabled };

// Whether a port that speaks HTTP/2 serves HTTP/1.1, too: ServerOptions::http1.
enum class Http1 : std::uint8_t { kServed, kRefused };

// The defaults are finite (P0). A negative duration, or kNone, means none.
struct ServerOptions {
  static constexpr Duration kNone = Duration(-1);

  // Where to listen. Port 0 lets the kernel choose; Server::endpoint() tells. "0.0.0.0" and "::"
  // are every interface.
  HostPort listen{"127.0.0.1", 0};

  // The path of a Unix socket to listen on as well; alone where `listen` has an empty host. It has
  // mode 0600, connections of other users than our own and root are dropped (SO_PEERCRED, before a
  // byte is read), and it is removed when the listener closes. What path is accepted, and what is
  // replaced there: unix_listener.h. Empty: none.
  std::string unix_path;

  // Certificates and settings of TLS (tls.h); nullptr: without TLS. With it the listener speaks TLS
  // only: HTTP without it gets 400 in clear text, and newcomers over a connection limit are closed
  // without an answer, because a handshake for each would be what the limit protects from.
  std::shared_ptr<TlsContext> tls;

  // --- Deadlines. Points in time, never moved by bytes that trickle in.

  // The request line and all headers. From accept on a new connection, from the first byte on a
  // kept-alive one. A head that is late gets 408 (slowloris); a connection that never sent a byte
  // is closed silently. 0: as read_timeout.
  Duration read_header_timeout = std::chrono::seconds(10);
  // The whole request with its body, from the same moment. A late body is the handler's read error,
  // or 408 while the engine still collects it. 0: none.
  Duration read_timeout = std::chrono::seconds(30);
  // From the end of the head to the last byte of the response. The connection is cut: a slow reader
  // holds nothing longer than this. 0: none.
  Duration write_timeout = std::chrono::seconds(30);
  // Between a response and the first byte of the next request. 0: as read_timeout.
  Duration idle_timeout = std::chrono::seconds(60);

  // --- Sizes.

  // Request line and headers; 431 beyond it, 414 if the target alone is longer. 256 bytes to 1 MiB.
  std::size_t max_header_bytes = 64 * 1024;
  // Header lines; 431 beyond it.
  std::size_t max_header_fields = 256;
  // A request's body: 413 at once if it is announced, else resource_exhausted from Request::read().
  // 0: none.
  std::uint64_t max_body_bytes = 16 * 1024 * 1024;

  // --- Limits. 0 means none.

  // Open connections. What happens to the one too many is `connection_policy`.
  std::size_t max_connections = 0;
  // kReject: 503 with Retry-After, closed. kPause: it waits in the listen backlog, unanswered,
  // until one of the open ones is closed.
  LimitPolicy connection_policy = LimitPolicy::kReject;
  // Open connections of one peer address; the one too many gets 503 with Retry-After, whatever the
  // policy.
  std::size_t max_connections_per_ip = 0;
  // The program's own wrappers around accepting, the outermost first (listener_filter.h). The two
  // limits above come behind them.
  std::vector<std::shared_ptr<ListenerFilter>> listener_filters;

  // Requests inside handlers. The one too many gets 503 with Retry-After, and its connection stays
  // open.
  std::size_t max_in_flight = 0;
  // With max_in_flight: so many more wait for a slot before that, in order of arrival, each up to
  // queue_timeout. They hold no thread, but what has been received of them (at most a head, a body
  // of 64 KiB, and 64 KiB behind it). The write deadline begins when they leave the queue. A client
  // that closes its side while it waits is forgotten. Streams of HTTP/2 wait in the same row. 0: no
  // queue.
  std::size_t max_queue = 0;
  // Must be positive where there is a queue.
  Duration queue_timeout = std::chrono::seconds(1);

  // Requests that one connection may carry; the last one's response says Connection: close. Lets a
  // balancer spread long-lived clients anew.
  std::uint32_t max_requests_per_connection = 0;

  // --- HTTP/2. The deadlines and sizes above hold for each stream as for a request of HTTP/1.1, the
  // idle timeout for a connection without streams; max_header_bytes is the size of a header list (RFC
  // 9113 §6.5.2).

  // Clear-text connections may begin with HTTP/2's preface ("prior knowledge"). Off: that is no
  // HTTP/1.1 request, and the connection is closed.
  bool http2_cleartext = false;
  // kRefused: the port is HTTP/2's alone. Who does not begin with its preface, or has not agreed on it
  // by ALPN, gets 400 as an HTTP/1.1 client reads it, and is closed. Needs http2_cleartext, or TLS that
  // offers "h2" and no "http/1.1" by ALPN.
  Http1 http1 = Http1::kServed;
  // Streams of one connection that are open, or whose handlers still run, at once; the one too many
  // is refused. 1 to 1000.
  std::uint32_t http2_max_streams = 250;
  // A connection with streams, but from which nothing has come for so long, is asked by a PING
  // whether its peer is still there, and closed if no answer comes within http2_ping_timeout. 0 or
  // less: never.
  Duration http2_ping_after = std::chrono::seconds(30);
  Duration http2_ping_timeout = std::chrono::seconds(15);

  // --- Threads.

  // Epoll instances, each with its connections, at most; each is led by one thread at a time. They are used
  // as they are needed: one alone until it is busy, others then while there are processors to spare, and what
  // one of them has too much moves to another (poller_balance.h). So a load that shares its processors with
  // others costs what it costs with one poller. 0: one a processor that the process may run on, at most 16.
  // 1 to 64.
  std::size_t pollers = 0;
  // For a program that knows better than the kernel's files (spare_processors.h) how many processors could do
  // more than they do: gives their number on average since the last call, 0 for none. Called on a thread of
  // the engine's, at most ten times a second, while a poller is busy; must not block or throw. Unset: the
  // files.
  std::function<double()> spare_processors;
  // Threads of the engine: a handler that blocks holds one. A request that finds none free gets
  // 503.
  std::size_t max_threads = 10'000;
  // Idle worker threads that are kept for good, for the next handler that blocks. More than these
  // end when they had nothing to do for kSurplusThreadTime: a load that needs them again and again
  // does not start them again and again. They cost stack and nothing else.
  std::size_t idle_threads_max = 64;
  static constexpr Duration kSurplusThreadTime = std::chrono::seconds(5);
  // Stack of an engine thread, in which handlers run. 0: the system's default (8 MiB, of which only
  // what is touched counts).
  std::size_t stack_bytes = 0;
  // First part of the threads' names, at most 5 characters: "vigil" gives "vigil-poll-0",
  // "vigil-work-3".
  std::string thread_name = "vigil";

  // Worker threads that start() starts, beside those that poll: so many handlers can block at once
  // when the system has no thread or memory left for another one.
  std::size_t threads_ahead = 0;

  // Descriptors kept back for newcomers when the process has no other left (EMFILE): so many are
  // served then, those beyond get 503. 0 to 16. What is taken is put back when a connection closes.
  std::size_t descriptors_reserved = 0;

  // The listen(2) backlog; the kernel caps it at net.core.somaxconn.
  int backlog = 4096;

  // --- Hooks.

  // What every request's context comes from: its values, and when it is stopped, so are they all.
  Context base_context;
  // Makes a connection's context from the base context: values that all requests of the connection
  // share, such as its peer's certificate. Called once a connection, before its first request is
  // handled, on the thread that polls: it must not block. An exception counts as a handler's: the
  // base context is used.
  std::function<Context(const Context& base, const ConnInfo& connection)> conn_context;
  // Told of each change of a connection's public state (conn_state.h), in order for one connection,
  // from several threads for several. Called without a lock, but mostly on a thread that polls: it
  // must not block. An exception is logged and goes no further. Costs one branch when unset.
  std::function<void(const ConnInfo& connection, ConnState state)> conn_state;
};

}  // namespace vigil::http
