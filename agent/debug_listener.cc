#include "agent/debug_listener.h"

#include <limits>
#include <optional>

#include "base/process_counts.h"
#include "base/socket_address.h"
#include "endpoints/guard.h"

namespace vigil {
namespace {

// Clients that stay connected and say nothing must not keep others out for long (P7.9).
constexpr std::size_t kConnectionsMax = 128;
constexpr Duration kHeadTime = std::chrono::seconds(5);
constexpr Duration kIdleTime = std::chrono::seconds(30);
// So many pages can be served when the system has no thread left.
constexpr std::size_t kThreadsAhead = 3;
// So many clients can connect when the process has no descriptor left.
constexpr std::size_t kDescriptorsReserved = 2;
constexpr std::size_t kStackBytes = 1024 * 1024;

http::ServerOptions listener_options(const AgentOptions& options) {
  http::ServerOptions server;
  server.listen = options.debug_listen;
  server.unix_path = options.debug_unix;
  server.tls = options.debug_tls;
  server.max_connections = kConnectionsMax;
  server.max_body_bytes = 4 * 1024 * 1024;
  server.read_header_timeout = kHeadTime;
  server.idle_timeout = kIdleTime;
  server.pollers = 1;
  server.max_threads = kConnectionsMax + 2;
  server.threads_ahead = kThreadsAhead;
  server.descriptors_reserved = spare_descriptors(kDescriptorsReserved);
  server.stack_bytes = kStackBytes;
  server.thread_name = "vgdbg";
  return server;
}

bool reaches_others(const HostPort& listen) {
  return !listen.host.empty() && !is_loopback(listen.host);
}

// The port to try after `port` is taken; 0: the kernel's choice. nullopt: none.
std::optional<std::uint16_t> next_port(AgentOptions::PortTaken policy, std::uint16_t port,
                                       int tried) {
  switch (policy) {
    case AgentOptions::PortTaken::kFail:
      return std::nullopt;
    case AgentOptions::PortTaken::kAnyFree:
      if (port == 0) return std::nullopt;
      return 0;
    case AgentOptions::PortTaken::kNextFree:
      if (tried >= kDebugPortsTried || port == std::numeric_limits<std::uint16_t>::max()) {
        return std::nullopt;
      }
      return static_cast<std::uint16_t>(port + 1);
  }
  return std::nullopt;
}

void log_reach(const AgentOptions& options, const HostPort& bound, const Logger& log) {
  if (bound.port != options.debug_listen.port && options.debug_listen.port != 0) {
    log.warn("the port of the debug pages is taken: they are on another one",
             {{"wanted", format_host_port(options.debug_listen)},
              {"listening", format_host_port(bound)}});
  }
  if (reaches_others(options.debug_listen)) {
    log.warn("the debug pages are reachable from other machines, with their token",
             {{"listening", format_host_port(bound)}, {"tls", options.debug_tls != nullptr}});
  }
}

}  // namespace

Result<AgentOptions::PortTaken> parse_port_taken(std::string_view word) {
  using PortTaken = AgentOptions::PortTaken;
  if (word == "next") return PortTaken::kNextFree;
  if (word == "any") return PortTaken::kAnyFree;
  if (word == "fail") return PortTaken::kFail;
  return Error(ErrorCode::kInvalidArgument, "not next, any or fail");
}

Result<void> check_debug_reach(const AgentOptions& options) {
  if (options.debug_listen.host.empty() && options.debug_unix.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 "the debug pages have neither an address nor a Unix socket");
  }
  if (!options.debug_token.empty()) {
    if (Result<void> usable = endpoints::check_token(options.debug_token); !usable) return usable;
  }
  if (!reaches_others(options.debug_listen)) return {};
  if (options.debug_reach == AgentOptions::DebugReach::kOtherMachines &&
      !options.debug_token.empty()) {
    return {};
  }
  return Error(ErrorCode::kPermissionDenied,
               "the debug listener would be reachable from other machines at " +
                   format_host_port(options.debug_listen) +
                   ", and its pages show the inside of this process: bind it to 127.0.0.1 or "
                   "[::1], or set both DebugReach::kOtherMachines (VIGIL_EXPOSE=1) and a token");
}

Result<std::unique_ptr<http::Server>> open_debug_listener(const AgentOptions& options,
                                                          const http::Handler& pages,
                                                          leakwatch::TaskRegistry& tasks,
                                                          LogSink& sink, Clock& clock) {
  http::ServerOptions server = listener_options(options);
  for (int tried = 1;; ++tried) {
    auto created = http::Server::create(server, pages, tasks, sink, clock);
    if (created) {
      log_reach(options, (*created)->endpoint(), Logger(sink, "agent"));
      return created;
    }
    // A Unix socket that somebody listens on is busy as well: then no port helps, and the last
    // error says so.
    const auto next = next_port(options.debug_port_taken, server.listen.port, tried);
    if (created.error().code() != ErrorCode::kBusy || server.listen.host.empty() || !next) {
      return created;
    }
    server.listen.port = *next;
  }
}

}  // namespace vigil
