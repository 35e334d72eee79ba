#include "agent/client/progress.h"

#include <unistd.h>

#include <cstdio>

#include <fmt/core.h>

namespace vigil::client {
namespace {

using namespace std::chrono_literals;

MonotonicTime now() { return std::chrono::steady_clock::now(); }

}  // namespace

Progress::Progress(std::string program)
    : program_(std::move(program)), is_shown_(::isatty(STDERR_FILENO) == 1), began_(now()) {}

Progress::~Progress() {
  if (shown_at_ != MonotonicTime{}) fmt::print(stderr, "\r\033[K");
}

void Progress::step(const std::string& what) {
  constexpr Duration kQuiet = 2s;
  constexpr Duration kBetween = 200ms;
  const MonotonicTime at = now();
  if (!is_shown_ || at - began_ < kQuiet || at - shown_at_ < kBetween) return;
  shown_at_ = at;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at - began_).count();
  fmt::print(stderr, "\r\033[K{}, {} s: {}", program_, seconds, what);
  std::fflush(stderr);
}

}  // namespace vigil::client
