// A child process: the server of --launch, the drive's command, the self-test.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace vigil::leakcheck {

enum class ChildPipes : std::uint8_t {
  kNone,      // what it writes goes to our stderr: stdout is the report's
  kInAndOut,  // its input and output are ours to write and read
};

// How long a child that is to end has between SIGTERM and SIGKILL.
inline constexpr Duration kChildGrace = std::chrono::seconds(10);

// In a process group of its own, so that what it starts is ended with it.
class Child {
 public:
  // Looked up in PATH. An Error names the program.
  static Result<Child> start(const std::vector<std::string>& command, ChildPipes pipes);
  // Ends it if it still runs: SIGTERM to its group, SIGKILL after kChildGrace.
  ~Child();
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;

  pid_t pid() const { return pid_; }
  // Whether it has ended; its wait status is kept.
  bool has_ended();
  // Waits for its end. "exit status 3", "signal 9"; empty for status 0.
  std::string wait();
  // The same words, once it has ended.
  std::string end_text() const;

  // A line of its output, without the line's end; deadline_exceeded, closed.
  Result<std::string> read_line(MonotonicTime deadline);
  Result<void> write_line(const std::string& line);

 private:
  Child() = default;
  bool wait_until_ended(MonotonicTime deadline);
  void note_end();

  pid_t pid_ = -1;
  bool ended_ = false;
  int status_ = 0;
  UniqueFd in_;
  UniqueFd out_;
  std::string read_;  // beyond the last line
};

}  // namespace vigil::leakcheck
