// PeerAddress: the other end of a connection, as the kernel gives it.
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include <cstdint>

#include "base/text.h"

namespace vigil::http {

// A value; 24 bytes, nothing allocated.
struct PeerAddress {
  sa_family_t family = AF_UNSPEC;
  in_port_t port = 0;  // network byte order
  // An IPv4 address is in its first four bytes. Of AF_UNIX: the user, the process, and a number that
  // no other connection has.
  in6_addr address{};

  // A peer behind a Unix socket: who it was when it connected (SO_PEERCRED).
  static PeerAddress of_unix(uid_t uid, pid_t pid, std::uint64_t serial);
  // Of AF_UNIX only.
  uid_t unix_uid() const { return address.s6_addr32[0]; }
  pid_t unix_pid() const { return static_cast<pid_t>(address.s6_addr32[1]); }

  // For showing and logging; behind a Unix socket "unix(uid=1000)" and the connection's number (16
  // bits of it) as the port. Allocates.
  HostPort to_host_port() const;
  // The same address, whatever the port; the same user behind a Unix socket.
  friend bool same_host(const PeerAddress& a, const PeerAddress& b);
};

}  // namespace vigil::http
