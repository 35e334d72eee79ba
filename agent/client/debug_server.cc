#include "agent/client/debug_server.h"

namespace vigil::client {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr std::string_view kHttp = "http://";

Result<DebugServer> parse_unix(std::string_view path) {
  if (!path.starts_with('/')) {
    return Error(ErrorCode::kInvalidArgument, "unix: needs an absolute path");
  }
  DebugServer server;
  server.unix_path = path;
  return server;
}

}  // namespace

Result<DebugServer> parse_debug_server(std::string_view text) {
  if (text.starts_with(kUnix)) return parse_unix(text.substr(kUnix.size()));
  DebugServer server;
  if (const auto port = parse_integer(text, 1, 65'535)) {
    server.address.port = static_cast<std::uint16_t>(*port);
    return server;
  }
  if (text.starts_with(kHttp)) {
    text.remove_prefix(kHttp.size());
    if (text.ends_with('/')) text.remove_suffix(1);
  }
  auto address = parse_host_port(text);
  if (!address || address->port == 0) {
    return Error(ErrorCode::kInvalidArgument, "not A:P, a port, or unix:/PATH");
  }
  server.address = *std::move(address);
  return server;
}

std::string debug_server_name(const DebugServer& server) {
  if (!server.unix_path.empty()) return std::string(kUnix) + server.unix_path;
  return format_host_port(server.address);
}

std::string debug_url(const DebugServer& server, std::string_view path) {
  std::string url = debug_server_name(server);
  url.insert(0, server.unix_path.empty() ? kHttp : "");
  if (!server.unix_path.empty()) url += ' ';
  return url.append(path);
}

}  // namespace vigil::client
