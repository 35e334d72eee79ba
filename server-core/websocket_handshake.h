// WebSocket's opening handshake (RFC 6455 §4.2), without the sending: what a request gets. Pure.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "server-core/request.h"

namespace vigil::http {

struct WebSocketHandshake {
  int refusal = 0;          // the status to answer; 0: switch protocols
  std::string why;          // of a refusal
  std::string accept;       // Sec-WebSocket-Accept
  std::string subprotocol;  // empty: none
};

// Sec-WebSocket-Accept for a key: base64(SHA-1(key + the GUID of RFC 6455 §1.3)).
std::string websocket_accept(std::string_view key);

// Whether the request comes from a page of its own host: it has no Origin field (no browser), or
// the Origin's host and port are those that it asks for. The scheme is not compared: behind a proxy
// that ends TLS it is not known.
bool is_same_origin(const Request& request);

// Refusals: 405 another method than GET; 505 HTTP/1.0; 501 HTTP/2, which has no Upgrade; 426 no
// `Upgrade: websocket` with `Connection: upgrade`, or another version than 13; 400 no valid key, a
// field twice, or a body; 403 `allow_origin` (empty: is_same_origin) says no.
// `subprotocols`: the server's, best first; the first one that the client offers is chosen.
WebSocketHandshake judge_websocket_request(const Request& request,
                                           std::span<const std::string> subprotocols,
                                           const std::function<bool(const Request&)>& allow_origin);

}  // namespace vigil::http
