// What a program can see of a connection: who it is, and what it does now.
//
//   options.conn_state = [&](const ConnInfo& connection, ConnState state) {
//     if (state == ConnState::kNew) log.info("connected", {{"id", connection.id}});
//   };
//
// The engine's own states are finer (connection.h); ServerStats counts those.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/text.h"

namespace vigil::http {

struct ConnInfo {
  std::uint64_t id = 0;  // unique in a server, from 1
  HostPort remote;       // the socket's peer
};

// As in Go's net/http.
enum class ConnState : std::uint8_t {
  kNew,       // accepted. -> kActive with its first bytes, kClosed
  kActive,    // a request is read, handled or answered. -> kIdle, kHijacked, kClosed
  kIdle,      // between requests. -> kActive, kClosed
  kHijacked,  // its handler has taken it over: the last that is told of it
  kClosed,    // its socket is closed
};

// "new", "active", "idle", "hijacked", "closed".
std::string_view conn_state_name(ConnState state);

}  // namespace vigil::http
