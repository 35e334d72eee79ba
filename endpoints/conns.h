// /debug/conns: the open connections of the program's servers, each with who is there and what it
// does.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "endpoints/page.h"
#include "endpoints/services.h"
#include "server-core/connection_info.h"

namespace vigil::endpoints {

// What a connection's handler does, where one runs.
struct ConnectionWork {
  std::string route;
  Duration age{0};
};

struct ServerConnections {
  std::string server;
  http::ConnectionListing listing;
  std::vector<ConnectionWork> work;  // of the connection with the same index; no route: none
};

// How many connections of each server are listed when the request does not say, and at most.
inline constexpr int kConnectionsListed = 1000;
inline constexpr int kConnectionsListedMax = 100'000;

// GET /debug/conns. state=idle lists those only, limit=N so many of each server, format=json. A task
// belongs to the connection with its peer's address and port (HTTP/2: the oldest of its streams).
// Cost for the server: about 1 us a listed connection, on the threads that poll.
Page connections_page(const PageRequest& request, const Services& services);

// The table. Pure.
std::string format_connections(const std::vector<ServerConnections>& servers);

}  // namespace vigil::endpoints
