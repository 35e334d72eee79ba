// DebugRequest and DebugResponse: what a server that is not ours hands to the debug pages, and gets
// from them. Strings only, so that a host needs nothing else of vigil's to serve them.
#pragma once

#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vigil {

// Borrows everything for the time of the call.
struct DebugRequest {
  using Field = std::pair<std::string_view, std::string_view>;

  std::string_view method = "GET";
  std::string_view target;         // as in the request line: "/debug/pprof/profile?seconds=5"
  std::span<const Field> headers;  // all of them; names in any case
  std::string_view body = {};      // at most what a symbol request needs, 4 MiB
  // The other end of the connection as the kernel says: "127.0.0.1", "::1"; of a proxy, where there
  // is one. What is no loopback address is another machine, and is refused without a token.
  std::string_view peer;
  // Stopped when the client is gone, where the host can tell: a capture ends early then.
  std::stop_token stop = {};

  // The first field of that name.
  std::optional<std::string_view> header(std::string_view name) const;
};

// Whether a request's target is below one of the paths that the pages live at: for a server that asks
// before it hands over. Pure.
bool is_debug_path(std::string_view target);

struct DebugResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;  // without Content-Length
  std::string body;  // empty for HEAD, whatever the headers say
};

}  // namespace vigil
