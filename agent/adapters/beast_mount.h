// vigil's debug pages in a server on Boost.Beast.
//
//   boost::beast::http::read(stream, buffer, request);          // request<string_body>
//   if (vigil::is_debug_target(request.target())) {
//     auto peer = stream.socket().remote_endpoint().address();
//     boost::beast::http::write(stream, vigil::debug_response(*agent, request, peer));
//   }
//
// A capture blocks for its seconds: call it on a thread that may be blocked, not on one that runs the
// io_context's other connections. The guard stands before every page (guard.h). Header only.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/ip/address.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include "agent/agent.h"

namespace vigil {

// The request's page. `peer`: the socket's other end, never what a header says. Prepared: it has
// Content-Length, and Connection as the request asks for.
template <typename Fields>
boost::beast::http::response<boost::beast::http::string_body> debug_response(
    const Agent& agent,
    const boost::beast::http::request<boost::beast::http::string_body, Fields>& request,
    const boost::asio::ip::address& peer) {
  const auto view = [](auto text) { return std::string_view(text.data(), text.size()); };
  std::vector<DebugRequest::Field> fields;
  for (const auto& field : request) {
    fields.emplace_back(view(field.name_string()), view(field.value()));
  }
  const std::string peer_text = peer.to_string();
  DebugResponse page = agent.debug_page({.method = view(request.method_string()),
                                         .target = view(request.target()),
                                         .headers = fields,
                                         .body = request.body(),
                                         .peer = peer_text});
  boost::beast::http::response<boost::beast::http::string_body> response(
      static_cast<boost::beast::http::status>(page.status), request.version());
  for (const auto& [name, value] : page.headers) response.insert(name, value);
  response.keep_alive(request.keep_alive());
  response.body() = std::move(page.body);
  response.prepare_payload();
  return response;
}

// The same for what Beast itself calls a target.
template <typename Text>
bool is_debug_target(const Text& target) {
  return is_debug_path(std::string_view(target.data(), target.size()));
}

}  // namespace vigil
