#include "server-core/hijack.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "server-core/channel.h"
#include "server-core/websocket_counters.h"

namespace vigil::http {
namespace {

// Waits for `events` of the socket, or for its end.
Result<void> wait_for(int socket, short events, MonotonicTime deadline) {
  const SystemClock clock;
  while (true) {
    const MonotonicTime now = clock.now();
    if (now >= deadline) return Error(ErrorCode::kDeadlineExceeded, "deadline passed");
    pollfd waited{socket, events, 0};
    const int ready = ::poll(&waited, 1, poll_timeout_ms(now, deadline));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return Error::from_errno("poll", errno);
  }
}

Error released() { return Error(ErrorCode::kClosed, "the connection has been given away"); }

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

// A reader and a writer may be at it at once, and TLS is one state for both. Not held while waiting.
struct HijackedConnection::Secured {
  std::mutex mutex;
  std::unique_ptr<Channel> channel;  // guarded by mutex
};

HijackedConnection::HijackedConnection() = default;
HijackedConnection::HijackedConnection(HijackedConnection&&) noexcept = default;

HijackedConnection& HijackedConnection::operator=(HijackedConnection&& other) noexcept {
  if (this == &other) return *this;
  leave();
  registry_ = std::move(other.registry_);
  id_ = other.id_;
  socket_ = std::move(other.socket_);
  secured_ = std::move(other.secured_);
  buffered_ = std::move(other.buffered_);
  remote_ = std::move(other.remote_);
  stop_token_ = std::move(other.stop_token_);
  action_ = std::move(other.action_);
  return *this;
}

HijackedConnection::~HijackedConnection() { leave(); }

// Before the socket is closed: its number may then be another connection's.
void HijackedConnection::leave() {
  action_.reset();
  if (secured_ && secured_->channel && socket_) {
    const std::lock_guard lock(secured_->mutex);
    secured_->channel->say_end();
  }
  secured_.reset();
  if (registry_) registry_->remove(id_);
  registry_.reset();
}

void HijackedConnection::on_shutdown(std::function<void()> action) {
  action_.reset();
  action_ =
      std::make_unique<std::stop_callback<std::function<void()>>>(stop_token_, std::move(action));
}

ssize_t HijackedConnection::receive_now(std::span<char> into, short& wait_for_events) {
  if (!secured_) return ::recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT);
  const std::lock_guard lock(secured_->mutex);
  const ssize_t got = secured_->channel->receive(into.data(), into.size());
  wait_for_events = secured_->channel->events_for(POLLIN);
  return got;
}

ssize_t HijackedConnection::send_now(std::string_view bytes, short& wait_for_events) {
  if (!secured_) {
    return ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  const iovec part{const_cast<char*>(bytes.data()), bytes.size()};  // NOLINT: not written
  const std::lock_guard lock(secured_->mutex);
  const ssize_t sent = secured_->channel->send(std::span(&part, 1));
  wait_for_events = secured_->channel->events_for(POLLOUT);
  return sent;
}

// The socket blocks; each call says that it must not, so that only poll(2) waits, with a deadline.
Result<std::size_t> HijackedConnection::read(std::span<char> into, MonotonicTime deadline) {
  assert(!into.empty());
  if (!buffered_.empty()) {
    const std::size_t size = std::min(into.size(), buffered_.size());
    std::copy_n(buffered_.begin(), size, into.begin());
    buffered_.erase(0, size);
    return size;
  }
  if (!socket_) return released();
  while (true) {
    short events = POLLIN;
    const ssize_t got = receive_now(into, events);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EINTR) continue;
    if (!would_block(errno)) return Error::from_errno("recv", errno);
    if (auto ready = wait_for(socket_.get(), events, deadline); !ready) {
      return std::move(ready).error().with_context("reading");
    }
  }
}

Result<void> HijackedConnection::write(std::string_view bytes, MonotonicTime deadline) {
  if (!socket_) return released();
  while (!bytes.empty()) {
    short events = POLLOUT;
    const ssize_t sent = send_now(bytes, events);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (!would_block(errno)) return Error::from_errno("send", errno);
    if (auto ready = wait_for(socket_.get(), events, deadline); !ready) {
      return std::move(ready).error().with_context("writing");
    }
  }
  return {};
}

UniqueFd HijackedConnection::release() {
  UniqueFd socket = std::move(socket_);
  leave();
  return socket;
}

std::shared_ptr<WebSocketCounters> HijackedConnection::websocket_counters() const {
  return registry_->websockets();
}

HijackRegistry::HijackRegistry() : websockets_(std::make_shared<WebSocketCounters>()) {}

HijackedConnection HijackRegistry::add(UniqueFd socket, std::unique_ptr<Channel>& channel,
                                       std::string buffered, HostPort remote) {
  HijackedConnection connection;
  if (channel) connection.secured_ = std::make_unique<HijackedConnection::Secured>();
  connection.socket_ = std::move(socket);
  connection.buffered_ = std::move(buffered);
  connection.remote_ = std::move(remote);
  connection.stop_token_ = shutdown_.get_token();
  std::lock_guard lock(mutex_);
  connection.id_ = next_id_++;
  sockets_.emplace(connection.id_, connection.socket_.get());
  if (phase_ == Phase::kForced) {
    ::shutdown(connection.socket_.get(), SHUT_RDWR);
    ++ends_.forced;
  }
  connection.registry_ = shared_from_this();
  if (channel) {
    channel->set_socket(connection.socket_.get());
    channel->release_buffers();
    connection.secured_->channel = std::move(channel);
  }
  return connection;
}

std::size_t HijackRegistry::size() const {
  std::lock_guard lock(mutex_);
  return sockets_.size();
}

bool HijackRegistry::wait_until_empty(MonotonicTime deadline, Clock& clock) {
  std::unique_lock lock(mutex_);
  while (!sockets_.empty()) {
    if (clock.now() >= deadline) return false;
    clock.wait_until(lock, removed_, deadline);
  }
  return true;
}

void HijackRegistry::begin_shutdown() {
  std::lock_guard lock(mutex_);
  if (phase_ == Phase::kServing) phase_ = Phase::kGoingDown;
}

void HijackRegistry::force() {
  tell();
  std::lock_guard lock(mutex_);
  if (std::exchange(phase_, Phase::kForced) == Phase::kForced) return;
  for (const auto& [id, socket] : sockets_) ::shutdown(socket, SHUT_RDWR);
  ends_.forced += sockets_.size();
}

HijackRegistry::Ends HijackRegistry::ends() const {
  std::lock_guard lock(mutex_);
  return ends_;
}

void HijackRegistry::remove(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  sockets_.erase(id);
  if (phase_ == Phase::kGoingDown) ++ends_.closed;
  removed_.notify_all();
}

}  // namespace vigil::http
