// A line on the terminal about what takes more than 2 s; nothing where stderr is no terminal.
//
//   Progress progress("vigil-leakcheck");
//   for (…) progress.step("GET /orders, 3 of 20");       // "vigil-leakcheck, 4 s: GET /orders, 3 of 20"
#pragma once

#include <string>

#include "base/clock.h"

namespace vigil::client {

// Used by one thread at a time.
class Progress {
 public:
  // `program`: in front of the line.
  explicit Progress(std::string program);
  // Takes the line away.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // What is done now; may be called often.
  void step(const std::string& what);

 private:
  const std::string program_;
  const bool is_shown_;
  const MonotonicTime began_;
  MonotonicTime shown_at_{};
};

}  // namespace vigil::client
