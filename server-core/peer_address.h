// PeerAddress: the other end of a TCP connection, as the kernel gives it.
#pragma once

#include <netinet/in.h>

#include "base/text.h"

namespace vigil::http {

// A value; 24 bytes, nothing allocated.
struct PeerAddress {
  sa_family_t family = AF_UNSPEC;
  in_port_t port = 0;  // network byte order
  in6_addr address{};  // an IPv4 address is in its first four bytes

  // For showing and logging. Allocates.
  HostPort to_host_port() const;
  // The same address, whatever the port.
  friend bool same_host(const PeerAddress& a, const PeerAddress& b);
};

}  // namespace vigil::http
