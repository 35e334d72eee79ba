#include "server-core/engine.h"

#include <algorithm>

#include "server-core/poller.h"

namespace vigil::http {
namespace {

Duration or_none(Duration timeout) { return timeout > Duration(0) ? timeout : Duration::max(); }

std::string address_key(const PeerAddress& peer) {
  return std::string(reinterpret_cast<const char*>(&peer.address), sizeof(peer.address));
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
  timeouts.shortest =
      std::min({timeouts.read, timeouts.write, timeouts.read_header, timeouts.idle});
  return timeouts;
}

MonotonicTime deadline_after(MonotonicTime time, Duration duration) {
  if (duration >= kNoDeadline - time) return kNoDeadline;
  return time + duration;
}

ConnectionLimits::Verdict ConnectionLimits::enter(const PeerAddress& peer) {
  if (total_max_ != 0 && total_.fetch_add(1, std::memory_order_relaxed) >= total_max_) {
    total_.fetch_sub(1, std::memory_order_relaxed);
    return Verdict::kTooMany;
  }
  if (per_address_max_ == 0) return Verdict::kAdmitted;
  std::lock_guard lock(mutex_);
  std::size_t& count = by_address_[address_key(peer)];
  if (count < per_address_max_) {
    ++count;
    return Verdict::kAdmitted;
  }
  if (total_max_ != 0) total_.fetch_sub(1, std::memory_order_relaxed);
  return Verdict::kTooManyOfAddress;
}

void ConnectionLimits::leave(const PeerAddress& peer) {
  if (total_max_ != 0) total_.fetch_sub(1, std::memory_order_relaxed);
  if (per_address_max_ == 0) return;
  std::lock_guard lock(mutex_);
  const auto entry = by_address_.find(address_key(peer));
  if (--entry->second == 0) by_address_.erase(entry);
}

Engine::Engine(ServerOptions server_options, Handler root_handler,
               leakwatch::TaskRegistry& task_registry, LogSink& sink, Clock& server_clock)
    : options(std::move(server_options)),
      timeouts(Timeouts::from(options)),
      root(std::move(root_handler)),
      registry(task_registry),
      log(sink, "server"),
      clock(server_clock),
      limits(options.max_connections, options.max_connections_per_ip),
      pool(*this),
      monitor(*this),
      acceptor(*this) {}

Engine::~Engine() = default;

void Engine::advance_phase(Phase next) {
  Phase current = phase_.load();
  while (current < next && !phase_.compare_exchange_weak(current, next)) {
  }
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

bool Engine::enter_flight() {
  if (options.max_in_flight == 0) return true;
  if (in_flight_.fetch_add(1, std::memory_order_relaxed) < options.max_in_flight) return true;
  in_flight_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

void Engine::leave_flight() {
  if (options.max_in_flight != 0) in_flight_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace vigil::http
