// Who may read the debug pages: local clients that asked for them themselves, and who has the token.
//
// The listener is bound to loopback, but a browser on the same machine reaches loopback too, sent
// there by any web page. What tells the two apart are headers that a page cannot forge: `Host` (DNS
// rebinding), `Origin` and `Sec-Fetch-Site`. A listener that other machines reach asks for a bearer
// token with every request; a token on a loopback listener keeps the machine's other users out.
//
//   who asks                    Origin, Sec-Fetch-Site   Host             token, where there is one
//   through the Unix socket     refused                  any              not needed: the kernel says
//                                                                         who it is
//   from this machine           refused                  a local name     needed; with it any Host
//   from another machine        refused                  any              needed; without one refused
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace vigil::endpoints {

// From where a request comes, as the kernel says; never by a header.
enum class Peer : std::uint8_t { kUnixSocket, kThisMachine, kOtherMachine };

// `host`: a peer's address as http::PeerAddress writes it: "127.0.0.1", "::1", "unix(uid=0)". What is
// no address is another machine. Pure.
Peer peer_of(std::string_view host);

// What decides; nullopt where absent.
struct GuardedRequest {
  std::string_view host;
  std::optional<std::string_view> origin;
  std::optional<std::string_view> sec_fetch_site;
  std::optional<std::string_view> authorization = std::nullopt;
  Peer peer = Peer::kThisMachine;
};

// Why a request is not answered: 401 (the token is missing or wrong) or 403.
struct Refusal {
  int status;
  std::string reason;
};

// Whether `host`, with or without a port, is localhost, 127.0.0.1 or [::1], letters in any case.
// Pure.
bool is_local_host(std::string_view host);

// `token`: what every request must carry as "Authorization: Bearer TOKEN"; empty: none is asked for.
// Pure. Never repeats what the client sent.
std::optional<Refusal> refusal(const GuardedRequest& request, std::string_view token);

// Whether a token can be one: 16 to 1024 letters, digits and "-._~+/=" (RFC 6750). invalid_argument
// otherwise, without the token in its sentence.
Result<void> check_token(std::string_view token);

// Whether both are the same, in a time that depends on the length of `given` only: how much of a
// secret was guessed right cannot be measured. Pure.
bool equal_in_constant_time(std::string_view given, std::string_view secret);

}  // namespace vigil::endpoints
