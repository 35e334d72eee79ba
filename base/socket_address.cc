#include "base/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <array>
#include <cstring>

#include "base/text.h"

namespace vigil {
namespace {

std::string ip_text(int family, const void* address, in_port_t port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (inet_ntop(family, address, text.data(), text.size()) == nullptr) return "";
  return format_host_port({text.data(), ntohs(port)});
}

// `address` as the type that its family names; copied, because the storage has another type.
template <typename Address>
Address as(const sockaddr_storage& address) {
  static_assert(sizeof(Address) <= sizeof(sockaddr_storage));
  Address copy;
  std::memcpy(&copy, &address, sizeof copy);
  return copy;
}

}  // namespace

std::string socket_address_text(const sockaddr_storage& address) {
  switch (address.ss_family) {
    case AF_INET: {
      const auto v4 = as<sockaddr_in>(address);
      return ip_text(AF_INET, &v4.sin_addr, v4.sin_port);
    }
    case AF_INET6: {
      const auto v6 = as<sockaddr_in6>(address);
      return ip_text(AF_INET6, &v6.sin6_addr, v6.sin6_port);
    }
    case AF_UNIX: {
      const auto local = as<sockaddr_un>(address);
      return "unix:" + std::string(local.sun_path, strnlen(local.sun_path, sizeof local.sun_path));
    }
    default:
      return "";
  }
}

std::string socket_peer_text(int descriptor) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  return socket_address_text(address);
}

bool is_loopback(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, address.c_str(), &v6) != 1) return false;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace vigil
