#include "endpoints/conns.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "endpoints/json_page.h"

namespace vigil::endpoints {
namespace {

using http::ConnectionInfo;
using nlohmann::ordered_json;

// What the threads that poll may take to answer: they look between two batches of events.
constexpr Duration kAnswerTime = std::chrono::milliseconds(500);

using WorkByPeer = std::unordered_map<std::string, ConnectionWork>;

// By the peer's address and port, the oldest task of each.
WorkByPeer work_by_peer(const Services& services) {
  WorkByPeer work;
  const MonotonicTime now = services.clock.now();
  for (const leakwatch::TaskInfo& task : services.tasks.snapshot()) {
    const auto request = services.tasks.request_of(task.id);
    if (!request || request->peer.empty()) continue;
    work.try_emplace(request->peer, ConnectionWork{std::string(task.label), task.age(now)});
  }
  return work;
}

// Drops what is not in `state`; an empty one drops nothing.
void keep_state(http::ConnectionListing& listing, std::string_view state) {
  if (state.empty()) return;
  std::erase_if(listing.connections,
                [state](const ConnectionInfo& each) { return each.state != state; });
}

ServerConnections connections_of(const ServerSource& source, const WorkByPeer& work,
                                 std::size_t limit, std::string_view state,
                                 MonotonicTime deadline) {
  ServerConnections found{
      .server = source.name, .listing = source.connections(limit, deadline), .work = {}};
  keep_state(found.listing, state);
  std::stable_sort(found.listing.connections.begin(), found.listing.connections.end(),
                   [](const ConnectionInfo& a, const ConnectionInfo& b) { return a.age > b.age; });
  for (const ConnectionInfo& each : found.listing.connections) {
    const auto at = work.find(format_host_port(each.remote));
    found.work.push_back(at == work.end() ? ConnectionWork{} : at->second);
  }
  return found;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string peer_text(const ConnectionInfo& info) {
  std::string text = format_host_port(info.remote);
  if (info.unix_pid != 0) text += fmt::format(" pid {}", info.unix_pid);
  return text;
}

void append_row(std::string& out, const ConnectionInfo& info, const ConnectionWork& work) {
  std::string doing = work.route;
  if (!doing.empty()) doing += " for " + format_duration(work.age);
  if (info.retransmits > 0) doing += fmt::format(" [{} retransmits]", info.retransmits);
  fmt::format_to(
      std::back_inserter(out), "{:<14} {:<28} {:>9} {:>8} {:>10} {:>10} {:>10} {:>9}  {}\n",
      info.state, peer_text(info), format_duration(info.age),
      info.requests == 0 ? "-" : std::to_string(info.requests), format_bytes(info.received_bytes),
      format_bytes(info.acknowledged_bytes), format_bytes(info.unsent_bytes),
      info.round_trip == Duration(0) ? "-" : format_duration(info.round_trip), doing);
}

std::map<std::string_view, std::size_t> count_by_state(const http::ConnectionListing& listing) {
  std::map<std::string_view, std::size_t> counts;
  for (const ConnectionInfo& each : listing.connections) ++counts[each.state];
  return counts;
}

ordered_json to_json(const ConnectionInfo& info, const ConnectionWork& work) {
  ordered_json json = {{"peer", format_host_port(info.remote)},
                       {"state", info.state},
                       {"age_ms", whole_milliseconds(info.age)},
                       {"requests", info.requests},
                       {"tls", info.tls},
                       {"poller", info.poller},
                       {"received_bytes", info.received_bytes},
                       {"acknowledged_bytes", info.acknowledged_bytes},
                       {"unsent_bytes", info.unsent_bytes},
                       {"retransmits", info.retransmits},
                       {"round_trip_us", info.round_trip.count() / 1000}};
  if (info.unix_pid != 0) json["peer_pid"] = info.unix_pid;
  if (!work.route.empty()) {
    json["route"] = work.route;
    json["route_age_ms"] = whole_milliseconds(work.age);
  }
  return json;
}

ordered_json to_json(const ServerConnections& server) {
  ordered_json list = ordered_json::array();
  for (std::size_t i = 0; i < server.listing.connections.size(); ++i) {
    list.push_back(to_json(server.listing.connections[i], server.work[i]));
  }
  return {{"server", server.server},
          {"left_out", server.listing.left_out},
          {"pollers_silent", server.listing.pollers_silent},
          {"connections", std::move(list)}};
}

}  // namespace

std::string format_connections(const std::vector<ServerConnections>& servers) {
  std::string out;
  for (const ServerConnections& server : servers) {
    const http::ConnectionListing& listing = server.listing;
    fmt::format_to(std::back_inserter(out), "server {}: {} connections", server.server,
                   listing.connections.size());
    for (const auto& [state, count] : count_by_state(listing)) {
      fmt::format_to(std::back_inserter(out), ", {} {}", count, state);
    }
    if (listing.left_out > 0) {
      fmt::format_to(std::back_inserter(out), "; {} more are not listed (limit=N)",
                     listing.left_out);
    }
    if (listing.pollers_silent > 0) {
      fmt::format_to(std::back_inserter(out),
                     "; {} polling threads did not answer, and theirs are missing",
                     listing.pollers_silent);
    }
    fmt::format_to(std::back_inserter(out),
                   "\n{:<14} {:<28} {:>9} {:>8} {:>10} {:>10} {:>10} {:>9}  {}\n", "STATE", "PEER",
                   "AGE", "REQUESTS", "RECEIVED", "ACKED", "UNSENT", "RTT", "ROUTE");
    for (std::size_t i = 0; i < listing.connections.size(); ++i) {
      append_row(out, listing.connections[i], server.work[i]);
    }
    out += '\n';
  }
  return out.empty() ? "no server has been added: Agent::add_server()\n" : out;
}

Page connections_page(const PageRequest& request, const Services& services) {
  const auto limit =
      parse_integer(request.query.get("limit").value_or(std::to_string(kConnectionsListed)), 1,
                    kConnectionsListedMax);
  if (!limit) {
    return error_page(400, "invalid value for \"limit\" - " + limit.error().message());
  }
  const std::string_view state = request.query.get("state").value_or("");
  const WorkByPeer work = work_by_peer(services);
  const MonotonicTime deadline = services.clock.now() + kAnswerTime;
  std::vector<ServerConnections> servers;
  if (services.sources != nullptr) {
    for (const ServerSource& source : services.sources->servers()) {
      if (!source.connections) continue;
      servers.push_back(
          connections_of(source, work, static_cast<std::size_t>(*limit), state, deadline));
    }
  }
  if (!wants_json(request)) return text_page(format_connections(servers));
  ordered_json json = ordered_json::array();
  for (const ServerConnections& server : servers) json.push_back(to_json(server));
  return json_page({{"servers", std::move(json)}});
}

}  // namespace vigil::endpoints
