#include "server-core/connection_listing.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <iterator>
#include <memory>
#include <new>
#include <utility>

#include "server-core/connection.h"
#include "server-core/engine_thread.h"
#include "server-core/poller.h"

namespace vigil::http {
namespace {

std::string_view name_of(ConnectionState state) {
  switch (state) {
    case ConnectionState::kHandshaking:
      return "handshaking";
    case ConnectionState::kNew:
      return "fresh";
    case ConnectionState::kReadingHead:
      return "reading_head";
    case ConnectionState::kReadingBody:
      return "reading_body";
    case ConnectionState::kHandling:
      return "handling";
    case ConnectionState::kQueued:
      return "queued";
    case ConnectionState::kFlushing:
      return "flushing";
    case ConnectionState::kDiscarding:
      return "reading_body";
    case ConnectionState::kIdle:
      return "idle";
    case ConnectionState::kLingering:
      return "lingering";
    case ConnectionState::kMultiplexed:
      return "multiplexed";
    case ConnectionState::kClosed:
      return "closed";
  }
  return "";
}

void add_kernel_view(ConnectionInfo& info, int socket) {
  int queued = 0;
  if (ioctl(socket, SIOCOUTQ, &queued) == 0 && queued > 0) {
    info.unsent_bytes = static_cast<std::uint64_t>(queued);
  }
  // Of linux/tcp.h: the C library's has no bytes in it. An older kernel fills less, the rest is zero.
  tcp_info tcp{};
  socklen_t size = sizeof(tcp);
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &tcp, &size) != 0) return;
  info.received_bytes = tcp.tcpi_bytes_received;
  info.acknowledged_bytes = tcp.tcpi_bytes_acked;
  info.retransmits = tcp.tcpi_total_retrans;
  info.round_trip = std::chrono::microseconds(tcp.tcpi_rtt);
}

}  // namespace

ConnectionInfo describe_connection(const Connection& connection, MonotonicTime now) {
  ConnectionInfo info;
  info.remote = connection.peer.to_host_port();
  if (connection.peer.family == AF_UNIX) info.unix_pid = connection.peer.unix_pid();
  info.age = now - connection.accepted;
  info.poller = connection.poller->index();
  const std::uint32_t flags = connection.flags.load(std::memory_order_acquire);
  if (flags & Connection::kHijacked) {
    info.state = "hijacked";
  } else if (flags & Connection::kQueued) {
    info.state = "queued";
  } else if (flags & Connection::kOwnedByHandler) {
    info.state = "handling";  // its other members are the handler's thread's
  } else {
    info.state = name_of(connection.state);
    info.requests = connection.requests;
    info.tls = connection.channel != nullptr;
  }
  if (connection.fd) add_kernel_view(info, connection.fd.get());
  return info;
}

void ListingRequest::answered(std::vector<ConnectionInfo> connections, std::size_t left_out) {
  const std::lock_guard lock(mutex_);
  --silent_;
  listing_.left_out += left_out;
  for (ConnectionInfo& info : connections) {
    if (listing_.connections.size() < limit_) {
      listing_.connections.push_back(std::move(info));
    } else {
      ++listing_.left_out;
    }
  }
  changed_.notify_all();
}

ConnectionListing ListingRequest::wait(MonotonicTime deadline, Clock& clock) {
  std::unique_lock lock(mutex_);
  while (silent_ > 0 && clock.now() < deadline) {
    clock.wait_until(lock, changed_, deadline);
  }
  listing_.pollers_silent = silent_;
  return listing_;
}

// --- The poller's side.

void Poller::list(std::shared_ptr<ListingRequest> request) {
  {
    std::lock_guard lock(inbox_mutex_);
    listings_.push_back(std::move(request));
  }
  wake();
}

void Poller::answer_listings(std::vector<std::shared_ptr<ListingRequest>> requests,
                             const EngineThread& thread) const {
  for (const auto& request : requests) {
    try {
      answer(*request, thread);
    } catch (const std::bad_alloc&) {
      // It counts as silent.
    }
  }
}

void Poller::answer(ListingRequest& request, const EngineThread& thread) const {
  std::vector<ConnectionInfo> found;
  std::size_t left_out = 0;
  for (const Connection* each = connections_; each != nullptr; each = each->list_next) {
    if (found.size() < request.limit()) {
      found.push_back(describe_connection(*each, thread.now()));
    } else {
      ++left_out;
    }
  }
  request.answered(std::move(found), left_out);
}

}  // namespace vigil::http
