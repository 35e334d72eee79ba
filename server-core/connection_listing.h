// ListingRequest: asks every poller for its connections, and waits for their answers.
//
//   any thread: Server::connections()           leader of each poller
//   Poller::list(request) ── wake ──▶           takes the request out, adds what it owns
//   wait() ◀──────────── answered() ────────────┘
//
// Only the leader may look at a connection's plain members, and only while no handler has it; so it
// is asked to, between two batches of events. Costs it about 1 us a connection.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "server-core/connection_info.h"

namespace vigil::http {

struct Connection;

// What the leader of its poller may see of `connection`.
ConnectionInfo describe_connection(const Connection& connection, MonotonicTime now);

// Shared by the asking thread and the pollers, whoever goes last. Thread-safe.
class ListingRequest {
 public:
  ListingRequest(std::size_t pollers, std::size_t limit) : limit_(limit), silent_(pollers) {}

  // How many more each poller may list: the limit is for each, and cut again by wait().
  std::size_t limit() const { return limit_; }

  // One poller's answer.
  void answered(std::vector<ConnectionInfo> connections, std::size_t left_out);

  // Until all have answered, or `deadline`.
  ConnectionListing wait(MonotonicTime deadline, Clock& clock);

 private:
  const std::size_t limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t silent_;         // guarded by mutex_
  ConnectionListing listing_;  // guarded by mutex_
};

}  // namespace vigil::http
