// The demo server as a child process on ports of its own, for integration tests.
#pragma once

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/text.h"
#include "tests/support/count_of.h"
#include "tests/support/http_client.h"
#include "tests/support/subprocess.h"

namespace vigil::test {

// The built vigil-demo.
extern const char* const kDemoProgram;

class Demo {
 public:
  // Starts vigil-demo with `flags` behind --listen=127.0.0.1:0 --debug=127.0.0.1:0 and waits until
  // it accepts. Throws std::runtime_error, with what it wrote, if it does not. `program`: another
  // copy of the binary. `environment`: added to this process's.
  explicit Demo(std::vector<std::string> flags = {}, std::string program = kDemoProgram,
                std::map<std::string, std::string> environment = {});

  Subprocess& process() { return process_; }
  const HostPort& address() const { return address_; }
  const HostPort& debug() const { return debug_; }

  HttpAnswer get(const std::string& path) const { return http_get(address_, path); }
  HttpAnswer post(const std::string& path, std::string body = "") const;
  HttpAnswer debug_get(const std::string& path) const { return http_get(debug_, path); }
  std::string debug_url(const std::string& path) const;

  // Polls `path` on the debug listener until its body contains `text` or 10 s pass; the last body.
  std::string debug_get_until(const std::string& path, const std::string& text) const;

 private:
  Subprocess process_;
  HostPort address_;
  HostPort debug_;
};

// `requests` GETs of `path`, each on a thread of its own; join() gives their answers.
class Background {
 public:
  Background(const HostPort& server, const std::string& path, std::size_t requests);
  ~Background();
  std::vector<HttpAnswer> join();

 private:
  std::vector<HttpAnswer> answers_;
  std::vector<std::thread> threads_;
};

}  // namespace vigil::test
