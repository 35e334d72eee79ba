#include "agent/leakcheck/interruption.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string_view>

#include "agent/leakcheck/child.h"
#include "agent/leakcheck/options.h"

namespace vigil::leakcheck {
namespace {

// Reached by the signal handler; 0: free.
constinit std::array<std::atomic<pid_t>, kNotedChildrenMax> noted{};

void kill_noted(int signal) noexcept {
  for (const std::atomic<pid_t>& group : noted) {
    if (const pid_t id = group.load(std::memory_order_relaxed); id != 0) ::kill(-id, signal);
  }
}

// A child that its owner has reaped meanwhile has ended too.
bool have_noted_ended() noexcept {
  for (const std::atomic<pid_t>& group : noted) {
    const pid_t id = group.load(std::memory_order_relaxed);
    if (id != 0 && ::waitpid(id, nullptr, WNOHANG) == 0) return false;
  }
  return true;
}

// Only calls that signal-safety(7) allows; on whichever thread the signal came.
void on_signal(int) noexcept {
  constexpr std::string_view kText =
      "vigil-leakcheck: interrupted by a signal; what it started has been ended\n";
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 10'000'000};
  constexpr auto kPauses = kChildGrace / std::chrono::nanoseconds(kPause.tv_nsec);
  kill_noted(SIGTERM);
  for (auto i = kPauses; i > 0 && !have_noted_ended(); --i) ::nanosleep(&kPause, nullptr);
  kill_noted(SIGKILL);
  (void)!::write(STDERR_FILENO, kText.data(), kText.size());
  ::_exit(kCouldNotCheck);
}

}  // namespace

void end_children_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESETHAND | SA_NODEFER;
    ::sigaction(signal, &action, nullptr);
  }
}

void note_child(pid_t group) noexcept {
  for (std::atomic<pid_t>& place : noted) {
    pid_t free = 0;
    if (place.compare_exchange_strong(free, group)) return;
  }
}

void forget_child(pid_t group) noexcept {
  for (std::atomic<pid_t>& place : noted) {
    pid_t its = group;
    if (place.compare_exchange_strong(its, 0)) return;
  }
}

}  // namespace vigil::leakcheck
