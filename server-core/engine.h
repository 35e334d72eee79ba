// Engine: what the threads of one server share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "leakwatch/task_registry.h"
#include "server-core/acceptor.h"
#include "server-core/balancer.h"
#include "server-core/connection.h"
#include "server-core/deadline_timer.h"
#include "server-core/flight_limit.h"
#include "server-core/handler.h"
#include "server-core/handshake_log.h"
#include "server-core/hijack.h"
#include "server-core/http2_output_buffers.h"
#include "server-core/listener_filter.h"
#include "server-core/monitor.h"
#include "server-core/move_gate.h"
#include "server-core/server_options.h"
#include "server-core/server_stats.h"
#include "server-core/thread_pool.h"

namespace vigil::http {

class Poller;

// The life of a server; only ever goes down this list.
enum class Phase : std::uint8_t {
  kCreated,   // listening, not accepting. -> kRunning by start()
  kRunning,   // -> kDraining by shutdown(), kForced by close()
  kDraining,  // no new connections, responses say Connection: close. -> kForced at the deadline
  kForced,    // everything that no handler owns is closed, sockets under handlers are shut down
  kStopped,   // the destructor's: leaders end
};

// The options' durations with their fallbacks resolved; kNoDeadline's duration (max) for none.
struct Timeouts {
  Duration read_header, read, write, idle;
  Duration handshake;  // means nothing without TLS
  // How often a connection is looked at while a handler owns it: the shortest of all, the queue's
  // included, so that
  // whatever deadline the handler's thread leaves behind, the timer does not come too late (see
  // Poller::arm).
  Duration shortest;

  static Timeouts from(const ServerOptions& options);
};

// A TLS connection of HTTP/1.x that has had so many requests keeps its buffers (33 KiB) until it has
// been idle for kQuietTime: making and freeing them for each request took a tenth of its time, with the
// heap profiler's samples of them. At most kKeptBuffersMax do (17 MiB); the others hold none between
// requests.
inline constexpr Duration kQuietTime = std::chrono::seconds(1);
inline constexpr std::uint32_t kBusyRequests = 8;
inline constexpr int kKeptBuffersMax = 512;

// `time` + `duration`, kNoDeadline where that would overflow.
MonotonicTime deadline_after(MonotonicTime time, Duration duration);

class Engine {
 public:
  Engine(ServerOptions server_options, Handler root_handler, leakwatch::TaskRegistry& task_registry,
         LogSink& sink, Clock& server_clock);
  ~Engine();

  Phase phase() const { return phase_.load(std::memory_order_seq_cst); }
  bool going_down() const { return phase() >= Phase::kDraining; }
  // Moves on to `next`, never back, and wakes every poller to act on it.
  void advance_phase(Phase next);

  // Server::set_keep_alives().
  void set_keep_alives(KeepAlives mode);
  // Whether responses say Connection: close, and idle connections are closed.
  bool closes_idle() const {
    return going_down() || keep_alives_.load(std::memory_order_relaxed) == KeepAlives::kDisabled;
  }

  // A connection has been accepted / destroyed, its limits' account settled.
  void connection_opened() { open_.fetch_add(1, std::memory_order_relaxed); }
  void connection_destroyed();
  // Waits until at most `rest` connections are left; false at the deadline.
  bool wait_for_connections(std::size_t rest, MonotonicTime deadline);
  // The listener is closed: nothing new comes.
  void listener_has_closed();
  // Waits for that; false at the deadline.
  bool wait_for_listener(MonotonicTime deadline);
  // A poller has cut what it has, for a phase of kForced or beyond; each says so once.
  void poller_has_cut();
  // Waits until all pollers have.
  bool wait_for_cut(MonotonicTime deadline);
  std::size_t open_connections() const { return open_.load(std::memory_order_relaxed); }

  // Who `connection` is, for the options' hooks. By its owner.
  ConnInfo describe(Connection& connection);

  const ServerOptions options;
  const Timeouts timeouts;
  const Handler root;
  HandlerProfile
      root_profile;  // of what runs before a route is entered, or of a root that has none
  leakwatch::TaskRegistry& registry;
  const Logger log;
  Clock& clock;
  // Who may use the Unix socket, the program's filters, the limits of the options, in that order.
  const std::shared_ptr<ListenerFilter> same_user;         // nullptr without a Unix socket
  const std::shared_ptr<ListenerFilter> address_limit;     // nullptr without one
  const std::shared_ptr<ListenerFilter> connection_limit;  // likewise
  FilterChain filters;
  FlightLimit flight;
  std::atomic<int> kept_buffers{0};  // connections whose channel keeps its buffers
  std::atomic<int> turned_away{0};   // connections over a limit that still linger
  std::vector<std::unique_ptr<Poller>> pollers;
  ThreadPool pool;
  Balancer balancer;
  MoveGate moves;  // of connections, between pollers
  Monitor monitor;
  Acceptor acceptor;
  // These two may outlive the engine, in the hands of a program that has kept a context or a
  // hijacked connection.
  const std::shared_ptr<DeadlineTimer> deadline_timer;
  const std::shared_ptr<HijackRegistry> hijacked = std::make_shared<HijackRegistry>();
  std::atomic<bool> late_headers_logged{false};
  HandshakeLog handshake_log;
  Http2OutputBuffers output_buffers;

 private:
  std::atomic<Phase> phase_{Phase::kCreated};
  std::atomic<KeepAlives> keep_alives_{KeepAlives::kEnabled};
  std::atomic<std::size_t> open_{0};
  std::size_t pollers_cut_ = 0;   // guarded by drained_mutex_
  bool listener_closed_ = false;  // guarded by drained_mutex_
  std::atomic<std::uint64_t> connection_ids_{0};
  std::mutex drained_mutex_;
  std::condition_variable drained_;
};

}  // namespace vigil::http
