#include "server-core/connection.h"

#include <utility>

namespace vigil::http {

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
