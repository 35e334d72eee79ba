// Which debug listener a program of ours talks to, as its user writes it.
//
//   auto server = parse_debug_server("unix:/run/search/debug.sock");
//   if (!server) …                       // "not A:P, a port, or unix:/PATH"
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/text.h"

namespace vigil::client {

struct DebugServer {
  HostPort address{"127.0.0.1", 6060};  // without meaning where there is a Unix socket
  std::string unix_path;                // absolute; empty: none
  std::string token;                    // sent as "Authorization: Bearer TOKEN"; empty: none
};

// "127.0.0.1:6060", "http://127.0.0.1:6060/" (as a browser's address is copied), "6060" for a port
// of 127.0.0.1, "unix:/run/x.sock". The token is left empty. Pure.
//   invalid_argument   none of these
Result<DebugServer> parse_debug_server(std::string_view text);

// The inverse: "127.0.0.1:6060" or "unix:/run/x.sock".
std::string debug_server_name(const DebugServer& server);

// "http://127.0.0.1:6060/debug/tasks", for messages; "unix:/run/x.sock /debug/tasks".
std::string debug_url(const DebugServer& server, std::string_view path);

}  // namespace vigil::client
