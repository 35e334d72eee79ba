// The HTTP of our command-line programs (vigil, vigil-leakcheck): cpp-httplib, kept in one file.
#pragma once

#include <memory>
#include <string>

#include "agent/client/debug_server.h"
#include "base/clock.h"
#include "base/result.h"

namespace vigil::client {

// A kept-alive connection to one server. Used by one thread.
class HttpClient {
 public:
  // `timeout`: for connecting (5 s at the most), and for every read and write.
  HttpClient(DebugServer server, Duration timeout);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  struct Answer {
    int status = 0;
    std::string body;
  };
  // GET or POST. "METHOD http://A:P/path: reason" in every error. deadline_exceeded: connected, but
  // not answered in time; other codes: not reached.
  Result<Answer> request(const std::string& method, const std::string& path);

  // The server's name, debug_server_name().
  const std::string& address() const { return name_; }
  const DebugServer& server() const { return server_; }

 private:
  struct Connection;
  const DebugServer server_;
  const std::string name_;
  std::unique_ptr<Connection> connection_;
};

// The body of a GET that is answered with 200.
//   unsupported   another status; the page's first line is in the message
//   others        as HttpClient::request()
Result<std::string> get_page(HttpClient& client, const std::string& path);

}  // namespace vigil::client
