// Children: they inherit the handlers, and nothing that would send them a signal.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tests/stress/disturbance.h"

namespace vigil::test {
namespace {

// 0 if it has ended by itself, with status 0.
bool ended_well(pid_t child) {
  int status = -1;
  while (waitpid(child, &status, 0) == -1) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// What a child does that was forked from a thread of many: only this thread is left, and locks of
// others may be held for good, but malloc's are mended by fork(3).
[[noreturn]] void live_and_leave() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // one that hangs does not outlive the matrix
  for (std::size_t size = 16; size <= 1 << 20; size *= 4) {
    void* memory = std::malloc(size);
    if (memory == nullptr) _exit(1);
    std::memset(memory, 1, size);
    std::free(memory);
  }
  _exit(0);
}

}  // namespace

void fork_children(Turn& turn) {
  while (turn.goes_on()) {
    const pid_t child = fork();
    if (child == 0) live_and_leave();
    turn.expect(child > 0, "fork failed");
    if (child > 0) turn.expect(ended_well(child), "a forked child did not end well");
  }
}

void vfork_and_exec(Turn& turn) {
  while (turn.goes_on()) {
    char program[] = "/bin/true";
    char* const arguments[] = {program, nullptr};
    char* const environment[] = {nullptr};
    const pid_t child = vfork();
    if (child == 0) {
      execve(program, arguments, environment);
      _exit(1);
    }
    turn.expect(child > 0, "vfork failed");
    if (child > 0) turn.expect(ended_well(child), "a program did not end well");
  }
}

}  // namespace vigil::test
