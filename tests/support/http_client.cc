#include "tests/support/http_client.h"

#include <httplib.h>

namespace vigil::test {

std::string HttpAnswer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

HttpAnswer http_call(const HostPort& server, const HttpCall& call) {
  httplib::Client client(server.host, server.port);
  client.set_read_timeout(std::chrono::duration_cast<std::chrono::seconds>(call.timeout));
  client.set_url_encode(false);
  httplib::Request request;
  request.method = call.method;
  request.path = call.path;
  for (const auto& [name, value] : call.headers) request.headers.emplace(name, value);
  if (!call.body.empty()) {
    request.body = call.body;
    request.headers.emplace("Content-Type", call.content_type);
  }
  const httplib::Result result = client.send(request);
  if (!result) return {};
  HttpAnswer answer;
  answer.status = result->status;
  answer.body = result->body;
  for (const auto& [name, value] : result->headers) answer.headers.emplace(name, value);
  return answer;
}

HttpAnswer http_get(const HostPort& server, const std::string& path, Duration timeout) {
  HttpCall call;
  call.path = path;
  call.timeout = timeout;
  return http_call(server, call);
}

}  // namespace vigil::test
