// What a program can see of a connection: who it is, and what it does now.
//
//   options.conn_state = [&](const ConnInfo& connection, ConnState state) {
//     if (state == ConnState::kNew) log.info("connected", {{"id", connection.id}});
//   };
//
// The engine's own states are finer (connection.h); ServerStats counts those.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/text.h"

namespace vigil::http {

struct TlsInfo;

struct ConnInfo {
  std::uint64_t id = 0;  // unique in a server, from 1
  HostPort remote;       // the socket's peer
  // What TLS has agreed upon (tls.h); nullptr without TLS, and before the handshake has ended.
  std::shared_ptr<const TlsInfo> tls;
};

// As in Go's net/http.
enum class ConnState : std::uint8_t {
  kNew,       // accepted; with TLS, shaking hands. -> kActive with its first bytes, kClosed
  kActive,    // a request is read, handled or answered. -> kIdle, kHijacked, kClosed
  kIdle,      // between requests. -> kActive, kClosed
  kHijacked,  // its handler has taken it over: the last that is told of it
  kClosed,    // its socket is closed
};

// "new", "active", "idle", "hijacked", "closed".
std::string_view conn_state_name(ConnState state);

}  // namespace vigil::http
