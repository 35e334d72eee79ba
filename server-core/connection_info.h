// What a server knows of one of its open connections, for a page that lists them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/text.h"

namespace vigil::http {

// As of one moment, for one connection; not all of the same moment.
struct ConnectionInfo {
  HostPort remote;             // "unix(uid=1000)" behind a Unix socket
  pid_t unix_pid = 0;          // who connected to the Unix socket; 0 for others
  std::string_view state;      // as in ServerStats::ConnectionsNow: "idle", "handling", …
  Duration age{0};             // since it was accepted
  std::uint64_t requests = 0;  // heads so far; while a handler has the connection, not known: 0
  bool tls = false;
  std::size_t poller = 0;  // which one has it, from 0

  // The kernel's view (tcp(7), TCP_INFO); zero for a Unix socket, but for `unsent`.
  std::uint64_t received_bytes = 0;
  std::uint64_t acknowledged_bytes = 0;  // of what was sent
  std::uint64_t unsent_bytes = 0;  // in the send queue: sent and not acknowledged, or not sent yet
  std::uint64_t retransmits = 0;   // segments, over its life
  Duration round_trip{0};          // smoothed
};

struct ConnectionListing {
  std::vector<ConnectionInfo> connections;  // the newest first, by poller
  std::size_t left_out = 0;                 // open, but beyond the limit
  std::size_t pollers_silent = 0;           // did not answer in time: theirs are missing
};

}  // namespace vigil::http
