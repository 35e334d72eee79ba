#include "server-core/peer_address.h"

#include <arpa/inet.h>

#include <array>
#include <cstring>
#include <string>

namespace vigil::http {

PeerAddress PeerAddress::of_unix(uid_t uid, pid_t pid, std::uint64_t serial) {
  PeerAddress peer;
  peer.family = AF_UNIX;
  peer.address.s6_addr32[0] = uid;
  peer.address.s6_addr32[1] = static_cast<std::uint32_t>(pid);
  std::memcpy(&peer.address.s6_addr32[2], &serial, sizeof(serial));
  // Names the connection where a port would.
  peer.port = htons(static_cast<std::uint16_t>(serial));
  return peer;
}

HostPort PeerAddress::to_host_port() const {
  if (family == AF_UNIX) return {"unix(uid=" + std::to_string(unix_uid()) + ")", ntohs(port)};
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(family, &address, text.data(), text.size());
  return {text.data(), ntohs(port)};
}

bool same_host(const PeerAddress& a, const PeerAddress& b) {
  if (a.family == AF_UNIX && b.family == AF_UNIX) return a.unix_uid() == b.unix_uid();
  return a.family == b.family && std::memcmp(&a.address, &b.address, sizeof(a.address)) == 0;
}

}  // namespace vigil::http
