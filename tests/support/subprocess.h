// Running other programs from tests: the demo, curl, go tool pprof, wrk.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"

namespace vigil::test {

// What a finished program left.
struct Finished {
  int exit_status = -1;  // of exit(); -1 if a signal ended it
  int signal = 0;
  std::string out;
  std::string err;
};

// A child process with its output in pipes that a thread empties. Killed by the destructor if it
// still runs. In a build under a sanitizer, a report of one on the child's stderr is passed on by
// the destructor, which then ends this process: the test has failed.
class Subprocess {
 public:
  // Starts `command` (looked up in PATH), with `environment` added to this process's. Throws
  // std::runtime_error.
  explicit Subprocess(std::vector<std::string> command,
                      std::map<std::string, std::string> environment = {});
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }

  // Sends `signal`.
  void kill(int signal);

  // What it has written so far.
  std::string out() const;
  std::string err() const;

  // Waits until stdout or stderr contains `text`, or the program ends, or 10 s pass: whether it
  // does.
  bool wait_for_out(const std::string& text, std::size_t times = 1);
  bool wait_for_err(const std::string& text, std::size_t times = 1);

  // Waits for its end; kills it after `timeout` (then `signal` is SIGKILL).
  Finished wait(Duration timeout = std::chrono::seconds(60));

 private:
  struct Output;
  std::unique_ptr<Output> output_;
  pid_t pid_ = -1;
  bool reaped_ = false;
};

// Runs a program to its end.
Finished run(std::vector<std::string> command, Duration timeout = std::chrono::seconds(60));

}  // namespace vigil::test
