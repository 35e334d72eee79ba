#include "server-core/peer_address.h"

#include <arpa/inet.h>

#include <array>
#include <cstring>

namespace vigil::http {

HostPort PeerAddress::to_host_port() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(family, &address, text.data(), text.size());
  return {text.data(), ntohs(port)};
}

bool same_host(const PeerAddress& a, const PeerAddress& b) {
  return a.family == b.family && std::memcmp(&a.address, &b.address, sizeof(a.address)) == 0;
}

}  // namespace vigil::http
