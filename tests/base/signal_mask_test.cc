#include "base/signal_mask.h"

#include "tests/support/catch.h"

namespace vigil {
namespace {

bool is_blocked(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

sigset_t only(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

TEST_CASE("the guard blocks for its scope") {
  REQUIRE_FALSE(is_blocked(SIGUSR2));
  {
    SignalMaskGuard guard(only(SIGUSR2));
    CHECK(is_blocked(SIGUSR2));
  }
  CHECK_FALSE(is_blocked(SIGUSR2));
}

TEST_CASE("a signal that was blocked before the guard stays blocked after it (U1)") {
  SignalMaskGuard outer(only(SIGUSR2));
  { SignalMaskGuard inner(only(SIGUSR2)); }
  CHECK(is_blocked(SIGUSR2));
}

TEST_CASE("program_signals() leaves a profiler's signals deliverable") {
  const SignalMaskGuard guard = SignalMaskGuard::program_signals();
  CHECK(is_blocked(SIGTERM));
  CHECK(is_blocked(SIGUSR1));
  CHECK_FALSE(is_blocked(SIGPROF));
  CHECK_FALSE(is_blocked(SIGRTMIN));
  CHECK_FALSE(is_blocked(SIGRTMAX));
  CHECK_FALSE(is_blocked(SIGSEGV));
}

}  // namespace
}  // namespace vigil
