#include "leakwatch/client_connection.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <optional>

#include "base/fd.h"
#include "base/text.h"

namespace vigil::leakwatch {
namespace {

struct Question {
  nlmsghdr header;
  inet_diag_req_v2 about;
};

// An address as sock_diag has it: its family; 0 if it is none.
std::uint8_t put_address(const HostPort& end, __be32 (&address)[4], __be16& port) {
  port = htons(end.port);
  if (::inet_pton(AF_INET, end.host.c_str(), address) == 1) return AF_INET;
  if (::inet_pton(AF_INET6, end.host.c_str(), address) == 1) return AF_INET6;
  return 0;
}

std::optional<Question> question_about(std::string_view local, std::string_view peer) {
  const auto here = parse_host_port(local);
  const auto there = parse_host_port(peer);
  if (!here || !there) return std::nullopt;
  Question question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  inet_diag_req_v2& about = question.about;
  about.sdiag_protocol = IPPROTO_TCP;
  about.idiag_states = ~0U;
  about.id.idiag_cookie[0] = about.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  about.sdiag_family = put_address(*here, about.id.idiag_src, about.id.idiag_sport);
  const std::uint8_t family = put_address(*there, about.id.idiag_dst, about.id.idiag_dport);
  if (family == 0 || family != about.sdiag_family) return std::nullopt;
  return question;
}

// The state of the connection; nothing if the kernel does not tell. Of one that was reset nothing is
// left, and what is found in its place is the socket that listens there.
std::optional<int> tcp_state(const Question& question) {
  const UniqueFd netlink(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink) return std::nullopt;
  if (::send(netlink.get(), &question, sizeof question, 0) < 0) return std::nullopt;
  // The answer was made during send(). With what else the kernel says of a socket it is longer than
  // what is read here.
  struct {
    nlmsghdr header;
    inet_diag_msg about;
  } answer{};
  const ssize_t got = ::recv(netlink.get(), &answer, sizeof answer, MSG_DONTWAIT | MSG_TRUNC);
  if (got < static_cast<ssize_t>(sizeof answer)) return std::nullopt;
  if (answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return std::nullopt;
  return answer.about.idiag_state;
}

}  // namespace

bool client_is_gone(int descriptor) {
  tcp_info about{};
  socklen_t size = sizeof about;
  if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &about, &size) != 0) return false;
  return about.tcpi_state != TCP_ESTABLISHED;
}

bool client_is_gone(std::string_view local, std::string_view peer) {
  const auto question = question_about(local, peer);
  if (!question) return false;
  const auto state = tcp_state(*question);
  return state && *state != TCP_ESTABLISHED;
}

}  // namespace vigil::leakwatch
