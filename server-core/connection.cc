#include "server-core/connection.h"

#include <utility>

#include "server-core/http2_connection.h"
#include "server-core/poller.h"

namespace vigil::http {

Connection::Connection(UniqueFd socket, Poller& owner) : fd(std::move(socket)), poller(&owner) {}

Connection::~Connection() = default;

bool Connection::take_slot() noexcept {
  pass = QueuePass::kGranted;
  poller->give(*this);
  return true;
}

ssize_t Connection::send(std::span<iovec> parts) {
  if (channel) return channel->send(parts);
  if (parts.size() == 1) return ::send(fd.get(), parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return ::sendmsg(fd.get(), &message, MSG_NOSIGNAL);
}

bool Connection::has_input() const {
  if (has_pending()) return true;
  char byte;
  return ::recv(fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool Connection::end_output() {
  say_end();
  return ::shutdown(fd.get(), SHUT_WR) == 0;
}

void Connection::release_buffers() {
  if (input.capacity() > std::string().capacity()) std::string().swap(input);
  if (output.capacity() > std::string().capacity()) std::string().swap(output);
  output_sent = 0;
}

std::stop_token Connection::stop_token() {
  std::lock_guard lock(stop_mutex_);
  stop_scope_open_ = true;
  if (!stop_source_) {
    stop_source_.emplace();
    if (stop_requested_)
      stop_source_->request_stop();  // nobody has the token yet: no callback runs
  }
  return stop_source_->get_token();
}

void Connection::request_stop() {
  std::optional<std::stop_source> source;
  {
    std::lock_guard lock(stop_mutex_);
    stop_requested_ = true;
    source = stop_source_;
  }
  // Outside the lock: a callback is the program's code.
  if (source) source->request_stop();
}

void Connection::end_stop_scope() {
  if (!std::exchange(stop_scope_open_, false)) return;
  std::optional<std::stop_source> source;
  {
    std::lock_guard lock(stop_mutex_);
    source.swap(stop_source_);
  }
  if (source) source->request_stop();
}

}  // namespace vigil::http
