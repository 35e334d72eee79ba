#include "server-core/server.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "base/thread_id.h"
#include "server-core/connection_listing.h"
#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/poller.h"
#include "server-core/tls.h"

namespace vigil::http {
namespace {

// How long shutdown() waits for connections to be closed that it has cut: nothing in it depends on
// a client.
constexpr Duration kCutTime = std::chrono::seconds(1);

Result<void> check_range(const char* name, std::size_t value, std::size_t min, std::size_t max) {
  if (value >= min && value <= max) return {};
  return Error(ErrorCode::kInvalidArgument, std::string(name) + " must be from " +
                                                std::to_string(min) + " to " + std::to_string(max));
}

// A port of HTTP/2's alone must be able to speak it, and must not offer what it refuses.
Result<void> check_http1(const ServerOptions& options) {
  if (options.http1 == Http1::kServed) return {};
  if (!options.tls) {
    if (options.http2_cleartext) return {};
    return Error(ErrorCode::kInvalidArgument,
                 "http1 is refused, and http2_cleartext is off: nothing could be served");
  }
  const std::vector<std::string>& alpn = options.tls->options().alpn;
  const auto offers = [&](std::string_view protocol) {
    return std::find(alpn.begin(), alpn.end(), protocol) != alpn.end();
  };
  if (offers("h2") && !offers("http/1.1")) return {};
  return Error(ErrorCode::kInvalidArgument,
               "http1 is refused: alpn must have \"h2\", and must not have \"http/1.1\"");
}

Result<void> check(const ServerOptions& options) {
  if (auto ok = check_range("max_header_bytes", options.max_header_bytes, 256, 1 << 20); !ok)
    return ok;
  if (auto ok = check_range("max_header_fields", options.max_header_fields, 1, 10'000); !ok)
    return ok;
  if (auto ok = check_range("pollers", options.pollers, 1, PollerBalance::kPollersMax); !ok)
    return ok;
  // A poller whose leader runs a handler needs one more thread to go on.
  if (auto ok = check_range("max_threads", options.max_threads, options.pollers + 1, 1'000'000);
      !ok) {
    return ok;
  }
  if (auto ok = check_range("http2_max_streams", options.http2_max_streams, 1, 1000); !ok)
    return ok;
  if (auto ok = check_http1(options); !ok) return ok;
  if (options.max_queue > 0 && options.max_in_flight == 0) {
    return Error(ErrorCode::kInvalidArgument, "max_queue means nothing without max_in_flight");
  }
  if (options.max_queue > 0 && options.queue_timeout <= Duration(0)) {
    return Error(ErrorCode::kInvalidArgument, "queue_timeout must be positive");
  }
  constexpr std::size_t kRequestsMax = 1'000'000'000;
  if (auto ok = check_range("max_in_flight", options.max_in_flight, 0, kRequestsMax); !ok)
    return ok;
  if (auto ok = check_range("max_queue", options.max_queue, 0, kRequestsMax); !ok) return ok;
  if (auto ok = check_range("descriptors_reserved", options.descriptors_reserved, 0,
                            Acceptor::kReservedMax);
      !ok) {
    return ok;
  }
  if (auto ok = check_range("threads_ahead", options.threads_ahead, 0,
                            options.max_threads - options.pollers);
      !ok) {
    return ok;
  }
  if (options.backlog < 1) return Error(ErrorCode::kInvalidArgument, "backlog must be positive");
  if (options.thread_name.empty() || options.thread_name.size() > 5) {
    return Error(ErrorCode::kInvalidArgument, "thread_name must have 1 to 5 characters");
  }
  return {};
}

}  // namespace

struct Server::Impl {
  Impl(ServerOptions options, Handler root, leakwatch::TaskRegistry& registry, LogSink& sink,
       Clock& clock)
      : engine(std::move(options), std::move(root), registry, sink, clock) {}

  // The present totals of what a shutdown report counts.
  ShutdownReport totals() const {
    ShutdownReport report;
    report.drained = static_cast<std::uint64_t>(engine.pool.sum(Counter::kDrained));
    report.closed_idle = static_cast<std::uint64_t>(engine.pool.sum(Counter::kClosedIdle));
    report.forced = static_cast<std::uint64_t>(engine.pool.sum(Counter::kForced));
    const HijackRegistry::Ends hijacked = engine.hijacked->ends();
    report.hijacked_closed = hijacked.closed;
    report.hijacked_forced = hijacked.forced;
    return report;
  }

  void start_threads_ahead();
  bool stop_polling();
  void run_shutdown_hooks();
  void set_ended();

  Engine engine;
  std::mutex lifecycle;                               // orders start() with the end
  bool started = false;                               // guarded by lifecycle
  std::vector<std::function<void()>> shutdown_hooks;  // guarded by lifecycle
  bool ended = false;                                 // guarded by lifecycle
  std::condition_variable ended_changed;
};

// As many as there are: what is missing is started when it is needed, as without the option.
void Server::Impl::start_threads_ahead() {
  std::vector<EngineThread*> ahead;
  while (ahead.size() < engine.options.threads_ahead) {
    EngineThread* thread = engine.pool.take("work");
    if (thread == nullptr) break;
    ahead.push_back(thread);
  }
  for (EngineThread* thread : ahead) engine.pool.put_back(*thread);
}

// One of our own handlers must not poll while it waits for the server's end. true if it is one.
bool Server::Impl::stop_polling() {
  EngineThread* self = EngineThread::current();
  if (self == nullptr || &self->engine() != &engine) return false;
  (void)self->hand_over();
  return true;
}

// The first caller has them all; outside the lock, because they are the program's code.
void Server::Impl::run_shutdown_hooks() {
  std::vector<std::function<void()>> hooks;
  {
    std::lock_guard lock(lifecycle);
    hooks.swap(shutdown_hooks);
  }
  for (const auto& hook : hooks) {
    try {
      hook();
    } catch (const std::exception& error) {
      engine.log.error("exception from a shutdown hook", {{"exception", error.what()}});
    }
  }
}

void Server::Impl::set_ended() {
  std::lock_guard lock(lifecycle);
  ended = true;
  ended_changed.notify_all();
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Server>> Server::create(ServerOptions options, Handler root,
                                               leakwatch::TaskRegistry& registry, LogSink& sink,
                                               Clock& clock) {
  if (options.pollers == 0) {
    options.pollers = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 16);
  }
  if (Result<void> ok = check(options); !ok) return std::move(ok).error();
  auto impl = std::make_unique<Impl>(std::move(options), std::move(root), registry, sink, clock);
  Engine& engine = impl->engine;
  if (Result<void> ok = engine.acceptor.open(); !ok) {
    return std::move(ok).error();
  }
  for (std::size_t i = 0; i < engine.options.pollers; ++i) {
    engine.pollers.push_back(std::make_unique<Poller>(engine, i));
    if (Result<void> ok = engine.pollers.back()->open(); !ok) return std::move(ok).error();
  }
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

const HostPort& Server::endpoint() const { return impl_->engine.acceptor.endpoint(); }

const std::string& Server::unix_path() const { return impl_->engine.options.unix_path; }

Result<void> Server::start() {
  Engine& engine = impl_->engine;
  std::lock_guard lock(impl_->lifecycle);
  if (engine.going_down()) return Error(ErrorCode::kClosed, "the server has been shut down");
  if (impl_->started) return {};
  std::vector<EngineThread*> leaders;
  for (std::size_t i = 0; i < engine.pollers.size(); ++i) {
    leaders.push_back(engine.pool.take("poll"));
    if (leaders.back() != nullptr) continue;
    leaders.pop_back();
    for (EngineThread* thread : leaders) engine.pool.put_back(*thread);
    return Error(ErrorCode::kResourceExhausted, "cannot start the server's threads");
  }
  if (Result<void> ok = engine.monitor.start(); !ok) {
    for (EngineThread* thread : leaders) engine.pool.put_back(*thread);
    return std::move(ok).error().with_context("cannot start the server's monitor");
  }
  impl_->start_threads_ahead();
  impl_->started = true;
  engine.advance_phase(Phase::kRunning);
  engine.acceptor.watch(engine.clock.now());
  for (std::size_t i = 0; i < leaders.size(); ++i) engine.pool.run(*leaders[i], *engine.pollers[i]);
  return {};
}

Result<ServeEnd> Server::serve() {
  Result<void> started = start();
  if (!started && started.error().code() != ErrorCode::kClosed) return std::move(started).error();
  std::unique_lock lock(impl_->lifecycle);
  while (!impl_->ended) impl_->ended_changed.wait(lock);
  return ServeEnd::kServerClosed;
}

void Server::set_keep_alives(KeepAlives mode) { impl_->engine.set_keep_alives(mode); }

void Server::register_on_shutdown(std::function<void()> hook) {
  std::lock_guard lock(impl_->lifecycle);
  if (!impl_->engine.going_down()) impl_->shutdown_hooks.push_back(std::move(hook));
}

ShutdownReport Server::shutdown(MonotonicTime deadline) {
  Engine& engine = impl_->engine;
  const ShutdownReport before = impl_->totals();
  bool started = false;
  {
    std::lock_guard lock(impl_->lifecycle);
    engine.advance_phase(Phase::kDraining);
    engine.hijacked->begin_shutdown();
    started = impl_->started;
    if (!started) engine.acceptor.close_unstarted();
  }
  impl_->run_shutdown_hooks();
  if (!started) {
    impl_->set_ended();
    return {};
  }
  // Called by one of our own handlers: its connection stays.
  const std::size_t rest = impl_->stop_polling() ? 1 : 0;

  ShutdownReport report;
  engine.hijacked->tell();
  // In this order: closing the listener accepts what the backlog has.
  const bool drained =
      engine.wait_for_listener(deadline) && engine.wait_for_connections(rest, deadline);
  if (!drained) {
    report.running = engine.pool.running_handlers();
    std::erase_if(report.running,
                  [](const RunningHandler& handler) { return handler.tid == current_thread_id(); });
  }
  const bool all_left = engine.hijacked->wait_until_empty(deadline, engine.clock);
  if (!drained || !all_left) engine.hijacked->force();  // a handler that runs on may yet hijack
  if (!drained) {
    engine.advance_phase(Phase::kForced);
    (void)engine.wait_for_cut(engine.clock.now() + kCutTime);
  }
  const ShutdownReport after = impl_->totals();
  report.drained = after.drained - before.drained;
  report.closed_idle = after.closed_idle - before.closed_idle;
  report.forced = after.forced - before.forced;
  report.hijacked_closed = after.hijacked_closed - before.hijacked_closed;
  report.hijacked_forced = after.hijacked_forced - before.hijacked_forced;
  impl_->set_ended();
  return report;
}

void Server::close() {
  Engine& engine = impl_->engine;
  bool started = false;
  {
    std::lock_guard lock(impl_->lifecycle);
    engine.advance_phase(Phase::kForced);
    started = impl_->started;
    if (!started) engine.acceptor.close_unstarted();
  }
  if (started) {
    (void)impl_->stop_polling();
    (void)engine.wait_for_listener(engine.clock.now() + kCutTime);
    (void)engine.wait_for_cut(engine.clock.now() + kCutTime);
  }
  // Runs the owners' actions: not with a lock held.
  engine.hijacked->force();
  impl_->set_ended();
}

Server::~Server() {
  close();
  Engine& engine = impl_->engine;
  if (!impl_->started) return;
  engine.wait_for_connections(0, kNoDeadline);
  engine.advance_phase(Phase::kStopped);
  engine.monitor.stop();
  engine.pool.stop_and_join();
}

ServerStats Server::stats() const {
  const ThreadPool& pool = impl_->engine.pool;
  const auto get = [&](Counter counter) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(pool.sum(counter), 0));
  };
  ServerStats stats;
  stats.connections.handshaking = get(Counter::kStateHandshaking);
  stats.connections.fresh = get(Counter::kStateNew);
  stats.connections.reading_head = get(Counter::kStateReadingHead);
  stats.connections.reading_body = get(Counter::kStateReadingBody) + get(Counter::kStateDiscarding);
  stats.connections.handling = get(Counter::kStateHandling);
  stats.connections.queued = get(Counter::kStateQueued);
  stats.connections.flushing = get(Counter::kStateFlushing);
  stats.connections.idle = get(Counter::kStateIdle);
  stats.connections.multiplexed = get(Counter::kStateMultiplexed);
  stats.connections.lingering = get(Counter::kStateLingering);
  stats.http2.handling = get(Counter::kHttp2Handling);
  stats.http2.connections = get(Counter::kHttp2Connections);
  stats.http2.requests = get(Counter::kHttp2Requests);
  stats.http2.ping_timeouts = get(Counter::kHttp2PingTimeouts);
  for (std::size_t i = 0; i < stats.http2.abuse.size(); ++i) {
    stats.http2.abuse[i] =
        get(static_cast<Counter>(static_cast<std::size_t>(Counter::kHttp2Abuse) + i));
  }
  stats.accepted = get(Counter::kAccepted);
  stats.accept_errors = get(Counter::kAcceptErrors);
  stats.requests = get(Counter::kRequests);
  for (std::size_t i = 0; i < stats.status_classes.size(); ++i) {
    stats.status_classes[i] =
        get(static_cast<Counter>(static_cast<std::size_t>(Counter::kStatus0) + i));
  }
  stats.bad_requests = get(Counter::kBadRequests);
  stats.handler_exceptions = get(Counter::kHandlerExceptions);
  stats.timeouts = {get(Counter::kTimeoutReadHeader), get(Counter::kTimeoutRead),
                    get(Counter::kTimeoutWrite), get(Counter::kTimeoutIdle)};
  stats.tls = {get(Counter::kTlsHandshakes), get(Counter::kTlsResumed),
               get(Counter::kTlsFailures),   get(Counter::kTlsTimeouts),
               get(Counter::kTlsAbandoned),  std::nullopt};
  if (const auto& tls = impl_->engine.options.tls) stats.tls.certificate_expires = tls->expires();
  stats.limits_hit = {get(Counter::kLimitConnections), get(Counter::kLimitPerIp),
                      get(Counter::kLimitInFlight),    get(Counter::kLimitThreads),
                      get(Counter::kLimitDescriptors), get(Counter::kLimitFilters),
                      get(Counter::kLimitPeerUser),    get(Counter::kAcceptPauses)};
  stats.queue = {impl_->engine.flight.waiting(), get(Counter::kQueued),
                 get(Counter::kQueueTimeouts), get(Counter::kQueueAbandoned),
                 Duration(get(Counter::kQueueWaitNs))};
  stats.out_of_memory = get(Counter::kOutOfMemory);
  stats.bytes_received = get(Counter::kBytesReceived);
  stats.bytes_sent = get(Counter::kBytesSent);
  stats.ran_inline = get(Counter::kRanInline);
  stats.ran_handed_over = get(Counter::kRanHandedOver);
  stats.rescued = get(Counter::kRescued);
  stats.threads_now = pool.size();
  stats.connections_moved = get(Counter::kMoved);
  stats.unrouted = impl_->engine.root_profile.metrics.read();
  stats.headers_refused = get(Counter::kHeadersRefused);
  stats.headers_late = get(Counter::kHeadersLate);
  stats.hijacked = get(Counter::kHijacked);
  stats.connections.hijacked = impl_->engine.hijacked->size();
  stats.websockets = impl_->engine.hijacked->websockets()->stats();
  const HijackRegistry::Ends hijacked = impl_->engine.hijacked->ends();
  stats.going_down = {get(Counter::kDrained), get(Counter::kClosedIdle), get(Counter::kForced),
                      hijacked.closed, hijacked.forced};
  return stats;
}

std::string_view server_phase_name(ServerPhase phase) {
  switch (phase) {
    case ServerPhase::kCreated:
      return "created";
    case ServerPhase::kServing:
      return "serving";
    case ServerPhase::kDraining:
      return "draining";
    case ServerPhase::kClosed:
      return "closed";
  }
  return "";
}

ServerPhase Server::phase() const {
  switch (impl_->engine.phase()) {
    case Phase::kCreated:
      return ServerPhase::kCreated;
    case Phase::kRunning:
      return ServerPhase::kServing;
    case Phase::kDraining:
      return ServerPhase::kDraining;
    case Phase::kForced:
    case Phase::kStopped:
      return ServerPhase::kClosed;
  }
  return ServerPhase::kClosed;
}

ConnectionListing Server::connections(std::size_t limit, MonotonicTime deadline) const {
  Engine& engine = impl_->engine;
  if (engine.phase() == Phase::kCreated || engine.phase() == Phase::kStopped) return {};
  const auto request = std::make_shared<ListingRequest>(engine.pollers.size(), limit);
  const MoveGate::Closed still(engine.moves);  // none is missed, or seen twice
  for (const auto& poller : engine.pollers) poller->list(request);
  return request->wait(deadline, engine.clock);
}

}  // namespace vigil::http
