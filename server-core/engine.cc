#include "server-core/engine.h"

#include <unistd.h>

#include <algorithm>
#include <initializer_list>

#include "server-core/poller.h"
#include "server-core/tls.h"

namespace vigil::http {
namespace {

Duration or_none(Duration timeout) { return timeout > Duration(0) ? timeout : Duration::max(); }

std::shared_ptr<ListenerFilter> address_limit_of(const ServerOptions& options) {
  if (options.max_connections_per_ip == 0) return nullptr;
  return std::make_shared<AddressLimit>(options.max_connections_per_ip);
}

std::shared_ptr<ListenerFilter> connection_limit_of(const ServerOptions& options) {
  if (options.max_connections == 0) return nullptr;
  return std::make_shared<ConnectionLimit>(options.max_connections, options.connection_policy);
}

std::vector<std::shared_ptr<ListenerFilter>> chain(
    const std::shared_ptr<ListenerFilter>& first,
    std::vector<std::shared_ptr<ListenerFilter>> filters,
    std::initializer_list<std::shared_ptr<ListenerFilter>> limits) {
  if (first != nullptr) filters.insert(filters.begin(), first);
  for (const auto& limit : limits) {
    if (limit != nullptr) filters.push_back(limit);
  }
  return filters;
}

}  // namespace

Timeouts Timeouts::from(const ServerOptions& options) {
  Timeouts timeouts;
  timeouts.read = or_none(options.read_timeout);
  timeouts.write = or_none(options.write_timeout);
  // P2.7: zero falls back, negative is none.
  timeouts.read_header = options.read_header_timeout == Duration(0)
                             ? timeouts.read
                             : or_none(options.read_header_timeout);
  timeouts.idle =
      options.idle_timeout == Duration(0) ? timeouts.read : or_none(options.idle_timeout);
  // P2.6.
  timeouts.handshake = std::min({timeouts.read_header, timeouts.read, timeouts.write});
  if (options.tls && options.tls->options().handshake_timeout != Duration(0)) {
    timeouts.handshake = or_none(options.tls->options().handshake_timeout);
  }
  timeouts.shortest =
      std::min({timeouts.read, timeouts.write, timeouts.read_header, timeouts.idle});
  if (options.max_queue != 0)
    timeouts.shortest = std::min(timeouts.shortest, options.queue_timeout);
  if (options.tls) timeouts.shortest = std::min(timeouts.shortest, kQuietTime);
  return timeouts;
}

MonotonicTime deadline_after(MonotonicTime time, Duration duration) {
  if (duration >= kNoDeadline - time) return kNoDeadline;
  return time + duration;
}

Engine::Engine(ServerOptions server_options, Handler root_handler,
               leakwatch::TaskRegistry& task_registry, LogSink& sink, Clock& server_clock)
    : options(std::move(server_options)),
      timeouts(Timeouts::from(options)),
      root(std::move(root_handler)),
      registry(task_registry),
      log(sink, "server"),
      clock(server_clock),
      same_user(options.unix_path.empty() ? nullptr : std::make_shared<SameUser>(geteuid())),
      address_limit(address_limit_of(options)),
      connection_limit(connection_limit_of(options)),
      filters(chain(same_user, options.listener_filters, {address_limit, connection_limit})),
      flight(options.max_in_flight, options.max_queue),
      pool(*this),
      balancer(*this),
      monitor(*this),
      acceptor(*this),
      deadline_timer(std::make_shared<DeadlineTimer>(clock)) {}

Engine::~Engine() { deadline_timer->stop(); }

void Engine::advance_phase(Phase next) {
  {
    // No poller looks at what it has, and says that it is done, before a connection that comes to it.
    const MoveGate::Closed still(moves);
    Phase current = phase_.load();
    while (current < next && !phase_.compare_exchange_weak(current, next)) {
    }
  }
  for (const auto& poller : pollers) poller->wake();
}

void Engine::set_keep_alives(KeepAlives mode) {
  keep_alives_.store(mode, std::memory_order_seq_cst);
  for (const auto& poller : pollers) poller->wake();
}

void Engine::connection_destroyed() {
  open_.fetch_sub(1, std::memory_order_acq_rel);
  if (!going_down()) return;
  // Taking the lock orders this with a waiter that has looked at the count but does not sleep yet.
  std::lock_guard lock(drained_mutex_);
  drained_.notify_all();
}

bool Engine::wait_for_connections(std::size_t rest, MonotonicTime deadline) {
  std::unique_lock lock(drained_mutex_);
  while (open_.load(std::memory_order_acquire) > rest) {
    if (clock.now() >= deadline) return false;
    clock.wait_until(lock, drained_, deadline);
  }
  return true;
}

void Engine::listener_has_closed() {
  std::lock_guard lock(drained_mutex_);
  listener_closed_ = true;
  drained_.notify_all();
}

bool Engine::wait_for_listener(MonotonicTime deadline) {
  std::unique_lock lock(drained_mutex_);
  while (!listener_closed_) {
    if (clock.now() >= deadline) return false;
    clock.wait_until(lock, drained_, deadline);
  }
  return true;
}

void Engine::poller_has_cut() {
  std::lock_guard lock(drained_mutex_);
  ++pollers_cut_;
  drained_.notify_all();
}

bool Engine::wait_for_cut(MonotonicTime deadline) {
  std::unique_lock lock(drained_mutex_);
  while (pollers_cut_ < pollers.size()) {
    if (clock.now() >= deadline) return false;
    clock.wait_until(lock, drained_, deadline);
  }
  return true;
}

ConnInfo Engine::describe(Connection& connection) {
  if (connection.id == 0) connection.id = connection_ids_.fetch_add(1) + 1;
  return {connection.id, connection.peer.to_host_port(),
          connection.channel ? connection.channel->tls() : nullptr};
}

}  // namespace vigil::http
