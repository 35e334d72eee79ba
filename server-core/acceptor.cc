#include "server-core/acceptor.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>

#include "base/process_counts.h"
#include "server-core/engine.h"
#include "server-core/engine_thread.h"
#include "server-core/poller.h"
#include "server-core/request_trace.h"

namespace vigil::http {
namespace {

constexpr Duration kLogInterval = std::chrono::seconds(10);

// No process has it: not found, not admitted.
constexpr uid_t kNoUser = static_cast<uid_t>(-1);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Result<SocketAddress> to_socket_address(const HostPort& endpoint) {
  SocketAddress address;
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (inet_pton(AF_INET, endpoint.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(endpoint.port);
    address.size = sizeof(v4);
  } else if (inet_pton(AF_INET6, endpoint.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    address.size = sizeof(v6);
  } else {
    return Error(ErrorCode::kInvalidArgument, "not a numeric address: " + endpoint.host);
  }
  return address;
}

PeerAddress to_peer(const sockaddr_storage& storage) {
  PeerAddress peer;
  peer.family = storage.ss_family;
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    peer.port = v4.sin_port;
    std::memcpy(&peer.address, &v4.sin_addr, sizeof(v4.sin_addr));
  } else {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    peer.port = v6.sin6_port;
    peer.address = v6.sin6_addr;
  }
  return peer;
}

Error bind_error(const HostPort& listen, int error) {
  const std::string where = "listen on " + format_host_port(listen);
  if (error == EADDRINUSE) {
    return Error(ErrorCode::kBusy, where + ": the address is in use");
  }
  return Error::from_errno(where, error);
}

}  // namespace

Acceptor::Acceptor(Engine& engine)
    : engine_(engine), for_newcomers_(engine.options.descriptors_reserved) {}

Result<void> Acceptor::open() {
  const ServerOptions& options = engine_.options;
  if (options.listen.host.empty() && options.unix_path.empty()) {
    return Error(ErrorCode::kInvalidArgument, "neither an address nor a Unix socket to listen on");
  }
  if (!options.listen.host.empty()) {
    if (Result<void> opened = open_port(); !opened) return opened;
  }
  if (!options.unix_path.empty()) {
    Result<UnixListener> opened = UnixListener::open(options.unix_path, options.backlog);
    if (!opened) return std::move(opened).error();
    unix_ = *std::move(opened);
  }
  if (spare_descriptors(1) > 0) for_answers_.restock();
  for_newcomers_.restock();
  return {};
}

Result<void> Acceptor::open_port() {
  const HostPort& listen = engine_.options.listen;
  Result<SocketAddress> address = to_socket_address(listen);
  if (!address) return std::move(address).error();
  const int family = address->storage.ss_family;
  UniqueFd socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno("socket", errno);
  const int on = 1;
  // Restarting must not wait for the old connections' TIME_WAIT.
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (family == AF_INET6) setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  // Inherited by the accepted sockets: one call instead of one for each.
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const auto* raw = reinterpret_cast<const sockaddr*>(&address->storage);
  if (::bind(socket.get(), raw, address->size) != 0) return bind_error(listen, errno);
  if (::listen(socket.get(), engine_.options.backlog) != 0) return bind_error(listen, errno);

  SocketAddress bound;
  bound.size = sizeof(bound.storage);
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.size) != 0) {
    return Error::from_errno("getsockname", errno);
  }
  endpoint_ = to_peer(bound.storage).to_host_port();
  listener_ = std::move(socket);
  return {};
}

void Acceptor::watch(MonotonicTime now) {
  for (const int fd : {listener_.get(), unix_.fd()}) {
    if (fd < 0) continue;
    if (const int error = engine_.pollers[0]->watch_listener(fd); error != 0) {
      return back_off(error, now);
    }
  }
}

void Acceptor::unwatch() {
  for (const int fd : {listener_.get(), unix_.fd()}) {
    if (fd >= 0) engine_.pollers[0]->unwatch_listener(fd);
  }
}

void Acceptor::close() {
  listener_.reset();
  unix_.close();
}

// Which of two sockets it is does not matter: both are asked, one after the other.
void Acceptor::on_readable(EngineThread& thread) {
  for (const int fd : {listener_.get(), unix_.fd()}) {
    for (int i = 0; i < kBatch && fd >= 0; ++i) {
      if (!engine_.filters.may_accept() && pause(thread)) return;
      const Round round = accept_one(fd, thread);
      if (round == Round::kBackoff) return;
      if (round == Round::kEmpty) break;
    }
  }
}

void Acceptor::drain_and_close(EngineThread& thread) {
  if (!listening()) return;
  for (const int fd : {listener_.get(), unix_.fd()}) {
    if (fd < 0 || engine_.phase() >= Phase::kForced) continue;
    // Bounded: a flood of newcomers must not keep the listener open. What a filter keeps in the
    // backlog has not been promised anything, and is reset with the listener.
    for (int i = 0; i < engine_.options.backlog + kBatch && engine_.filters.may_accept(); ++i) {
      if (accept_one(fd, thread) != Round::kMore) break;
    }
  }
  if (resume_at_ == kNoDeadline) unwatch();
  resume_at_ = kNoDeadline;
  paused_.store(false);
  close();
  engine_.listener_has_closed();
}

// Who is at the other end. Of a Unix socket it is asked for once, here: nobody else can be there
// later.
PeerAddress Acceptor::peer_of(int socket, const sockaddr_storage& storage) {
  if (storage.ss_family != AF_UNIX) return to_peer(storage);
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) peer.uid = kNoUser;
  return PeerAddress::of_unix(peer.uid, peer.pid, ++unix_peers_);
}

Acceptor::Round Acceptor::accept_one(int listener, EngineThread& thread) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  UniqueFd socket(::accept4(listener, reinterpret_cast<sockaddr*>(&storage), &size,
                            SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) return on_error(errno, listener, thread);
  backoff_ = Duration(0);
  thread.counters.add(Counter::kAccepted);
  const PeerAddress peer = peer_of(socket.get(), storage);
  admit(std::move(socket), peer, thread);
  return Round::kMore;
}

Acceptor::Round Acceptor::on_error(int error, int listener, EngineThread& thread) {
  if (error == EAGAIN) return Round::kEmpty;
  thread.counters.add(Counter::kAcceptErrors);
  switch (error) {
    case EMFILE:
    case ENFILE:
      if (for_newcomers_.give_one()) return Round::kMore;  // accept(2) has its number
      turn_away_with_reserve(listener, thread);
      [[fallthrough]];
    case ENOBUFS:
    case ENOMEM:
      back_off(error, thread.now());
      return Round::kBackoff;
    case EINTR:
    case ECONNABORTED:
      return Round::kMore;  // the newcomer has gone already
    default:
      // Troubles of the newcomer's network (EPROTO, ENETDOWN, EPERM by a firewall, …), which
      // accept(2) says to treat as EAGAIN. With a pause: one that stays must not spin.
      back_off(error, thread.now());
      return Round::kBackoff;
  }
}

// Counts what was turned away. false: it is closed without an answer.
bool Acceptor::count_refusal(const FilterChain::Decision& decision, EngineThread& thread) {
  if (decision.by == engine_.connection_limit.get()) {
    thread.counters.add(Counter::kLimitConnections);
  } else if (decision.by == engine_.address_limit.get()) {
    thread.counters.add(Counter::kLimitPerIp);
  } else if (decision.by == engine_.same_user.get()) {
    thread.counters.add(Counter::kLimitPeerUser);
  } else {
    thread.counters.add(Counter::kLimitFilters);
  }
  if (decision.verdict == ListenerFilter::Verdict::kDrop) return false;
  return engine_.turned_away.load(std::memory_order_relaxed) < kTurnedAwayMax;
}

// Gives the connection to a poller, or answers 503 if a filter refuses it.
void Acceptor::admit(UniqueFd socket, const PeerAddress& peer, EngineThread& thread) {
  const FilterChain::Decision decision = engine_.filters.on_accept(peer);
  const bool admitted = decision.verdict == ListenerFilter::Verdict::kAdmit;
  if (!admitted && decision.by == engine_.same_user.get()) report_foreign_user(peer);
  if (!admitted && (!count_refusal(decision, thread) || engine_.options.tls)) return;
  Poller& poller = engine_.balancer.poller_for_newcomer();
  std::unique_ptr<Connection> connection;
  try {
    connection = std::make_unique<Connection>(std::move(socket), poller);
  } catch (const std::bad_alloc&) {
    thread.counters.add(Counter::kOutOfMemory);
    if (admitted) engine_.filters.on_close(peer);
    return;
  }
  connection->peer = peer;
  connection->began = connection->accepted = thread.now();
  connection->counts_toward_limits = admitted;
  connection->state = ConnectionState::kClosed;  // not counted yet
  engine_.connection_opened();
  if (admitted) {
    const bool tls = engine_.options.tls != nullptr;
    thread.set_state(*connection, tls ? ConnectionState::kHandshaking : ConnectionState::kNew);
    connection->set_deadline(deadline_after(
        thread.now(), tls ? engine_.timeouts.handshake : engine_.timeouts.read_header));
    if (sampler::trace::recording()) [[unlikely]]
      trace_accept(*connection, engine_.clock.now());
  } else {
    engine_.turned_away.fetch_add(1, std::memory_order_relaxed);
    thread.turn_away(*connection);
  }
  poller.give(*connection.release());
  // Newcomers are work, even if all that comes of them is handshakes.
  if (engine_.pollers.size() > 1) engine_.monitor.notice_work();
}

// A filter has said no. Whoever closes a connection and then sees the flag wakes us; whoever closed
// one before it was set has let the second question through. true: accepting stops.
bool Acceptor::pause(EngineThread& thread) {
  paused_.store(true);
  if (engine_.filters.may_accept()) {
    paused_.store(false);
    return false;
  }
  thread.counters.add(Counter::kAcceptPauses);
  stop_watching_until(thread.now() + kPauseLook);
  return true;
}

// With the reserved descriptor's number free for a moment, newcomers can be told instead of being
// left waiting, one after the other.
void Acceptor::turn_away_with_reserve(int listener, EngineThread& thread) {
  // Taken while there was nothing left for it.
  for_answers_.restock();
  if (!for_answers_.give_one()) return;
  for (int i = 0; i < kBatch && turn_one_away(listener, thread); ++i) {
  }
  for_answers_.restock();
}

bool Acceptor::turn_one_away(int listener, EngineThread& thread) {
  UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) return false;
  thread.counters.add(Counter::kLimitDescriptors);
  if (engine_.options.tls) return true;
  constexpr std::string_view kResponse =
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
      "Content-Length: 0\r\n\r\n";
  [[maybe_unused]] const ssize_t sent =
      ::send(socket.get(), kResponse.data(), kResponse.size(), MSG_NOSIGNAL);
  ::shutdown(socket.get(), SHUT_WR);
  // What it has sent already is taken out of the socket, or closing would reset it under the
  // answer.
  std::array<char, 4096> unread;
  [[maybe_unused]] const ssize_t got = ::recv(socket.get(), unread.data(), unread.size(), 0);
  return true;
}

void Acceptor::stop_watching_until(MonotonicTime time) {
  if (resume_at_ == kNoDeadline) unwatch();
  resume_at_ = time;
}

void Acceptor::back_off(int error, MonotonicTime now) {
  log_error(error);
  backoff_ = std::clamp(backoff_ * 2, kBackoffMin, kBackoffMax);
  stop_watching_until(now + backoff_);
}

void Acceptor::resume(MonotonicTime now) {
  if (paused_.load(std::memory_order_relaxed)) {
    if (!engine_.filters.may_accept()) {
      resume_at_ = now + kPauseLook;
      return;
    }
    paused_.store(false);
  }
  resume_at_ = kNoDeadline;
  watch(now);
}

void Acceptor::report_foreign_user(const PeerAddress& peer) {
  const MonotonicTime now = engine_.clock.now();
  if (now < next_user_log_) return;
  engine_.log.warn("another user's connection to the Unix socket dropped",
                   {{"path", unix_.path()}, {"uid", peer.unix_uid()}, {"pid", peer.unix_pid()}});
  next_user_log_ = now + kLogInterval;
}

void Acceptor::log_error(int error) {
  ++errors_since_log_;
  const MonotonicTime now = engine_.clock.now();
  if (now < next_log_) return;
  engine_.log.warn("accept failed", {{"errno", error},
                                     {"errors", errors_since_log_},
                                     {"backoff_ms", backoff_.count() / 1'000'000}});
  next_log_ = now + kLogInterval;
  errors_since_log_ = 0;
}

}  // namespace vigil::http
