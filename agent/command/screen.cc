#include "agent/command/screen.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include <fmt/core.h>

namespace vigil::command {
namespace {

// The alternate screen, without a cursor; and back.
constexpr std::string_view kEnter = "\033[?1049h\033[?25l";
constexpr std::string_view kLeave = "\033[?25h\033[?1049l";

volatile sig_atomic_t asked_to_end = 0;  // set by the handler below

void note_end(int /*signal*/) { asked_to_end = 1; }

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;  // without SA_RESTART: poll(2) is to return
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

bool Screen::is_terminal() { return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1; }

Screen::Screen() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) handle(signal, note_end);
  handle(SIGWINCH, [](int) {});
  ::tcgetattr(STDIN_FILENO, &before_);
  termios keys = before_;
  keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  fmt::print("{}", kEnter);
}

Screen::~Screen() {
  fmt::print("{}", kLeave);
  std::fflush(stdout);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

TableSize Screen::size() const {
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0) return {};
  return {.columns = window.ws_col, .rows = window.ws_row};
}

void Screen::draw(const std::vector<std::string>& lines) {
  std::string out = "\033[H";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    out += lines[i] + "\033[K";
    if (i + 1 < lines.size()) out += "\n";
  }
  fmt::print("{}\033[J", out);
  std::fflush(stdout);
}

Screen::Key Screen::wait_for_key(Duration time) {
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(time).count();
  const int ready = asked_to_end != 0 ? 0 : ::poll(&input, 1, static_cast<int>(milliseconds));
  if (asked_to_end != 0) return Key::kQuit;
  if (ready <= 0) return Key::kNone;
  char key = 0;
  const ssize_t got = ::read(STDIN_FILENO, &key, 1);
  if (got < 0 && errno == EINTR) return Key::kNone;
  return got <= 0 || key == 'q' || key == 'Q' ? Key::kQuit : Key::kNone;
}

}  // namespace vigil::command
