// A terminal that a program draws its whole screen on, and gets single keys from.
#pragma once

#include <termios.h>

#include <string>
#include <vector>

#include "agent/command/task_table.h"
#include "base/clock.h"
#include "base/result.h"

namespace vigil::command {

// One at a time, on the main thread. SIGINT, SIGTERM and SIGHUP make wait_for_key() return, so that the destructor gives the
// terminal back as it was.
class Screen {
 public:
  // stdin and stdout must be a terminal: is_terminal().
  static bool is_terminal();
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  TableSize size() const;
  // Instead of what was there.
  void draw(const std::vector<std::string>& lines);

  enum class Key : std::uint8_t {
    kNone,  // the time is over, the window has another size, or a key without a meaning
    kQuit,  // q, Ctrl-C, the end of the input, a signal that asks to end
  };
  Key wait_for_key(Duration time);

 private:
  termios before_{};
};

}  // namespace vigil::command
