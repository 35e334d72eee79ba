// The HTTP of vigil-leakcheck: cpp-httplib, kept in one file.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/text.h"
#include "leakwatch/leakcheck/process_snapshot.h"

namespace vigil::leakcheck {

// A kept-alive connection to one server. Used by one thread.
class Client {
 public:
  Client(const HostPort& server, Duration timeout);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  struct Answer {
    int status = 0;
    std::string body;
  };
  // "METHOD http://A:P/path: reason" in every error. deadline_exceeded: connected, but not answered
  // in time; other codes: not reached.
  Result<Answer> request(const std::string& method, const std::string& path);

  // GET /debug/leakcheck, read. An error also for an answer that is none of ours.
  Result<leakwatch::ProcessSnapshot> snapshot();

  const std::string& address() const { return address_; }

 private:
  struct Connection;
  const HostPort server_;
  const std::string address_;
  std::unique_ptr<Connection> connection_;
};

// A free loopback port, taken by nobody yet.
Result<HostPort> free_address();

}  // namespace vigil::leakcheck
