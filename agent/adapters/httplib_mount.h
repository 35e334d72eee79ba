// Mounts vigil's debug pages on an existing cpp-httplib server.
//
//   httplib::Server server;
//   …                                            // the program's own routes: they come first
//   vigil::mount_debug_pages(server, *agent);
//   server.listen("127.0.0.1", 8080);
//
// curl http://127.0.0.1:8080/debug/ then shows them. They are answered by the server's own threads:
// what a stuck handler holds is missing for them too. The agent's own listener has not got that
// weakness, and both may be used.
//
// The guard stands before every page (guard.h): local clients, or the agent's token. A capture takes
// its thread for its seconds, and its response is one piece: nothing comes before the end.
//
// Header only; compile with the switches that the installed library was built with (pkg-config
// --cflags cpp-httplib). From 0.11 on (tried: 0.11.4, 0.53.1).
#pragma once

#include <utility>
#include <vector>

#include <httplib.h>

#include "agent/agent.h"
#include "leakwatch/adapters/httplib_switches.h"

namespace vigil {

namespace httplib_mount {

inline void answer(const Agent& agent, const httplib::Request& request,
                   httplib::Response& response) {
  std::vector<DebugRequest::Field> fields;
  fields.reserve(request.headers.size());
  for (const auto& [name, value] : request.headers) {
    // What the library adds for its own use, and a client could forge: the peer is remote_addr.
    if (name == "REMOTE_ADDR" || name == "LOCAL_ADDR") continue;
    fields.emplace_back(name, value);
  }
  DebugResponse page = agent.debug_page({.method = request.method,
                                         .target = request.target,
                                         .headers = fields,
                                         .body = request.body,
                                         .peer = request.remote_addr});
  response.status = page.status;
  for (const auto& [name, value] : page.headers) response.set_header(name, value);
  response.body = std::move(page.body);
}

}  // namespace httplib_mount

// Adds the pages' routes, behind those that are there: a program's own /metrics stays its own. Before
// listen(). `agent` must outlive the server. Throws std::logic_error in a program compiled without
// the library's switches (leakwatch/adapters/httplib_switches.h).
inline void mount_debug_pages(httplib::Server& server, const Agent& agent) {
  leakwatch::require_httplib_switches();
  const httplib::Server::Handler handler = [&agent](const httplib::Request& request,
                                                    httplib::Response& response) {
    httplib_mount::answer(agent, request, response);
  };
  // Every method, so that the pages themselves refuse what they do not take, with their sentence.
  for (const char* path :
       {R"(/debug/.*)", R"(/pprof/.*)", "/symbolz", "/metrics", "/healthz", "/readyz"}) {
    server.Get(path, handler);  // HEAD too
    server.Post(path, handler);
    server.Put(path, handler);
    server.Patch(path, handler);
    server.Delete(path, handler);
    server.Options(path, handler);
  }
}

}  // namespace vigil
