#include "server-core/hijack.h"

#include <sys/socket.h>

namespace vigil::http {

HijackedConnection& HijackedConnection::operator=(HijackedConnection&& other) noexcept {
  if (this == &other) return *this;
  leave();
  registry_ = std::move(other.registry_);
  id_ = other.id_;
  socket_ = std::move(other.socket_);
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
  if (registry_) registry_->remove(id_);
  registry_.reset();
}

void HijackedConnection::on_shutdown(std::function<void()> action) {
  action_.reset();
  action_ =
      std::make_unique<std::stop_callback<std::function<void()>>>(stop_token_, std::move(action));
}

UniqueFd HijackedConnection::release() {
  leave();
  return std::move(socket_);
}

HijackedConnection HijackRegistry::add(UniqueFd socket, std::string buffered, HostPort remote) {
  HijackedConnection connection;
  connection.socket_ = std::move(socket);
  connection.buffered_ = std::move(buffered);
  connection.remote_ = std::move(remote);
  connection.stop_token_ = shutdown_.get_token();
  std::lock_guard lock(mutex_);
  connection.id_ = next_id_++;
  sockets_.emplace(connection.id_, connection.socket_.get());
  if (forced_) ::shutdown(connection.socket_.get(), SHUT_RDWR);
  connection.registry_ = shared_from_this();
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

std::size_t HijackRegistry::force() {
  tell();
  std::lock_guard lock(mutex_);
  forced_ = true;
  std::size_t count = 0;
  for (auto entry = sockets_.lower_bound(first_unforced_); entry != sockets_.end(); ++entry) {
    ::shutdown(entry->second, SHUT_RDWR);
    ++count;
  }
  first_unforced_ = next_id_;
  return count;
}

void HijackRegistry::remove(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  sockets_.erase(id);
  removed_.notify_all();
}

}  // namespace vigil::http
