// A program with libvigil_agent.so preloaded, for the tests of this folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/text.h"
#include "tests/support/http_client.h"
#include "tests/support/subprocess.h"

namespace vigil::test {

using Environment = std::map<std::string, std::string>;

// The built library, and agent-target (target.cc).
extern const char* const kAgentLibrary;
extern const char* const kTargetProgram;

// LD_PRELOAD alone: nothing is asked for.
Environment unarmed();
// With an agent on a port that the kernel chooses, and `more`.
Environment armed(Environment more = {});

// A running program with an agent; killed at the end.
class Preloaded {
 public:
  // Starts `agent-target words…` and waits until the agent says where it serves. Throws std::runtime_error with what was
  // said if it does not.
  explicit Preloaded(std::vector<std::string> words, Environment more = {});

  Subprocess& process() { return process_; }
  const HostPort& debug() const { return debug_; }
  HttpAnswer get(const std::string& path) const { return http_get(debug_, path); }
  // Polls `path` until its body contains `text` or 10 s pass; the last body.
  std::string get_until(const std::string& path, const std::string& text) const;

 private:
  Subprocess process_;
  HostPort debug_;
};

// Where the agent of process `pid` (0: of any) serves, by the lines in `said`; port 0: it has not said so.
HostPort address_in(const std::string& said, int pid = 0);

// The text of `file` once it contains `text`; what it has after 10 s.
std::string read_until(const std::string& file, const std::string& text);

}  // namespace vigil::test
