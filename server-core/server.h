// Server: listens on one endpoint and answers HTTP/1.1 with one root handler.
//
//   Router router(registry);
//   …
//   auto server = Server::create(options, router, registry, sink, clock);
//   if (!server) return std::move(server).error().with_context("cannot start the service");
//   (*server)->start();
//   …
//   ShutdownReport report = (*server)->shutdown(clock.now() + 30s);
//
// Threads: one polls each epoll instance; handlers run on the polling thread while they prove
// short, else on a worker (handler_profile.h); one more thread, the monitor, watches for a short
// handler that suddenly is not. All of them block every signal except the synchronous faults,
// SIGPROF and the real-time signals (the sampler's). README.md draws it.
//
// Thread-safe: every member can be called from any thread, a handler included, in any order and
// more than once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "base/text.h"
#include "leakwatch/task_registry.h"
#include "server-core/connection_info.h"
#include "server-core/handler.h"
#include "server-core/server_options.h"
#include "server-core/server_stats.h"

namespace vigil::http {

// How serve() ends when nothing went wrong.
enum class ServeEnd : std::uint8_t {
  kServerClosed,  // by shutdown() or close(); no error
};

// The life of a server; it never goes back.
enum class ServerPhase : std::uint8_t {
  kCreated,   // bound, accepts nothing. -> kServing by start(); kDraining
  kServing,   // -> kDraining by shutdown(), kClosed by close()
  kDraining,  // no new connections; what is in flight finishes. -> kClosed at the deadline
  kClosed,    // everything is cut
};

// "created", "serving", "draining", "closed".
std::string_view server_phase_name(ServerPhase phase);

class Server {
 public:
  // Binds and listens; nothing is accepted before start(). `registry`, `sink` and `clock` must
  // outlive the server.
  //   invalid_argument    an option that cannot mean anything; the message names it
  //   busy                the address is in use
  //   permission_denied   the port needs privileges
  //   system, …           another failed call, named
  static Result<std::unique_ptr<Server>> create(ServerOptions options, Handler root,
                                                leakwatch::TaskRegistry& registry, LogSink& sink,
                                                Clock& clock);

  // close(), then waits for the handlers that still run: a server cannot go away under them. To end
  // a process with a stuck handler, leave with _exit() or quick_exit() after shutdown() has
  // reported it.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // What it listens on, with the real port; port 0: on no port.
  const HostPort& endpoint() const;
  // The Unix socket that it listens on; empty: none.
  const std::string& unix_path() const;

  // Starts accepting. resource_exhausted if a thread cannot be started; closed after shutdown() or
  // close(). A second call does nothing.
  Result<void> start();

  // start(), then waits until shutdown() or close() has done its work: unlike in Go, a main() that
  // returns after serve() does not cut short what shutdown() waits for. Also while another serve()
  // waits, and after the end: then it returns at once. The errors of start(), but never `closed`.
  // Not from a handler: it would wait for itself.
  Result<ServeEnd> serve();

  // With kDisabled, every response from now on says Connection: close, and idle connections are
  // closed: for moving clients elsewhere before the end. kEnabled (the default) goes back to
  // keeping connections.
  void set_keep_alives(KeepAlives mode);

  // `hook` runs once, when the first shutdown() begins: after new connections have been stopped,
  // before requests in flight are waited for, on the thread that calls shutdown(), in the order of
  // registration. For what must be told to end because it does not by itself, such as streams and
  // background work of handlers. It should not block: the deadline passes meanwhile. An exception
  // is logged. Not run by close(), nor when registered after shutdown() has begun.
  void register_on_shutdown(std::function<void()> hook);

  // Stops gently. The listener and idle connections are closed at once; requests in flight finish,
  // with Connection: close; connections that never sent a byte count as idle once they are 5 s old,
  // as does a head that is incomplete by then. Returns when nothing is left, or at `deadline`: then
  // what is left is cut and its handlers are reported. A handler that calls it is not waited for. A
  // second call waits likewise and reports what it saw itself.
  ShutdownReport shutdown(MonotonicTime deadline);

  // Drops everything at once: no response is finished, stop tokens fire. Returns when the sockets
  // are closed or shut down; does not wait for handlers.
  void close();

  ServerStats stats() const;

  // Where it is in its life. Cost: a load.
  ServerPhase phase() const;

  // The open connections, `limit` at the most. Asks the threads that poll, and waits for them until
  // `deadline`. Nothing before start() and after the end.
  ConnectionListing connections(std::size_t limit, MonotonicTime deadline) const;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vigil::http
