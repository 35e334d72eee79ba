#include "server-core/server.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include "base/thread_id.h"
#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

constexpr std::size_t kPollersMax = 64;
// How long shutdown() waits for connections to be closed that it has cut: nothing in it depends on
// a client.
constexpr Duration kCutTime = std::chrono::seconds(1);

Result<void> check_range(const char* name, std::size_t value, std::size_t min, std::size_t max) {
  if (value >= min && value <= max) return {};
  return Error(ErrorCode::kInvalidArgument, std::string(name) + " must be from " +
                                                std::to_string(min) + " to " + std::to_string(max));
}

Result<void> check(const ServerOptions& options) {
  if (auto ok = check_range("max_header_bytes", options.max_header_bytes, 256, 1 << 20); !ok)
    return ok;
  if (auto ok = check_range("max_header_fields", options.max_header_fields, 1, 10'000); !ok)
    return ok;
  if (auto ok = check_range("pollers", options.pollers, 1, kPollersMax); !ok) return ok;
  // A poller whose leader runs a handler needs one more thread to go on.
  if (auto ok = check_range("max_threads", options.max_threads, options.pollers + 1, 1'000'000);
      !ok) {
    return ok;
  }
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
    return report;
  }

  Engine engine;
  std::mutex lifecycle;  // orders start() with the end
  bool started = false;  // guarded by lifecycle
};

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
  if (Result<void> ok = engine.acceptor.open(engine.options.listen, engine.options.backlog); !ok) {
    return std::move(ok).error();
  }
  for (std::size_t i = 0; i < engine.options.pollers; ++i) {
    engine.pollers.push_back(std::make_unique<Poller>(engine, i));
    if (Result<void> ok = engine.pollers.back()->open(); !ok) return std::move(ok).error();
  }
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

const HostPort& Server::endpoint() const { return impl_->engine.acceptor.endpoint(); }

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
  impl_->started = true;
  engine.advance_phase(Phase::kRunning);
  engine.pollers[0]->watch_listener(engine.acceptor.fd());
  for (std::size_t i = 0; i < leaders.size(); ++i) engine.pool.run(*leaders[i], *engine.pollers[i]);
  return {};
}

ShutdownReport Server::shutdown(MonotonicTime deadline) {
  Engine& engine = impl_->engine;
  const ShutdownReport before = impl_->totals();
  {
    std::lock_guard lock(impl_->lifecycle);
    engine.advance_phase(Phase::kDraining);
    if (!impl_->started) {
      engine.acceptor.close_unstarted();
      return {};
    }
  }
  // Called by one of our own handlers: its connection stays, and it must not poll while it waits
  // here.
  EngineThread* self = EngineThread::current();
  const bool ours = self != nullptr && &self->engine() == &engine;
  if (ours) (void)self->hand_over();
  const std::size_t rest = ours ? 1 : 0;

  ShutdownReport report;
  if (!engine.wait_for_connections(rest, deadline)) {
    report.running = engine.pool.running_handlers();
    std::erase_if(report.running,
                  [](const RunningHandler& handler) { return handler.tid == current_thread_id(); });
    engine.advance_phase(Phase::kForced);
    (void)engine.wait_for_cut(engine.clock.now() + kCutTime);
  }
  const ShutdownReport after = impl_->totals();
  report.drained = after.drained - before.drained;
  report.closed_idle = after.closed_idle - before.closed_idle;
  report.forced = after.forced - before.forced;
  return report;
}

void Server::close() {
  std::lock_guard lock(impl_->lifecycle);
  impl_->engine.advance_phase(Phase::kForced);
  if (!impl_->started) impl_->engine.acceptor.close_unstarted();
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
  stats.connections.fresh = get(Counter::kStateNew);
  stats.connections.reading_head = get(Counter::kStateReadingHead);
  stats.connections.reading_body = get(Counter::kStateReadingBody) + get(Counter::kStateDiscarding);
  stats.connections.handling = get(Counter::kStateHandling);
  stats.connections.queued = get(Counter::kStateQueued);
  stats.connections.flushing = get(Counter::kStateFlushing);
  stats.connections.idle = get(Counter::kStateIdle);
  stats.connections.lingering = get(Counter::kStateLingering);
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
  stats.limits_hit = {get(Counter::kLimitConnections), get(Counter::kLimitPerIp),
                      get(Counter::kLimitInFlight),    get(Counter::kLimitThreads),
                      get(Counter::kLimitDescriptors), get(Counter::kLimitFilters),
                      get(Counter::kAcceptPauses)};
  stats.queue = {get(Counter::kQueued), get(Counter::kQueueTimeouts), get(Counter::kQueueAbandoned),
                 Duration(get(Counter::kQueueWaitNs))};
  stats.out_of_memory = get(Counter::kOutOfMemory);
  stats.bytes_received = get(Counter::kBytesReceived);
  stats.bytes_sent = get(Counter::kBytesSent);
  stats.ran_inline = get(Counter::kRanInline);
  stats.ran_handed_over = get(Counter::kRanHandedOver);
  stats.rescued = get(Counter::kRescued);
  stats.threads_now = pool.size();
  stats.unrouted = impl_->engine.root_profile.metrics.read();
  stats.headers_refused = get(Counter::kHeadersRefused);
  return stats;
}

}  // namespace vigil::http
