// Stacks that move, grow to thousands of frames, or are left in the middle.
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstdint>

#include "tests/stress/disturbance.h"

namespace vigil::test {
namespace {

constexpr int kAlternateSignal = SIGUSR2;
constexpr std::size_t kAlternateBytes = 64 * 1024;

thread_local volatile int handled = 0;
thread_local sigjmp_buf* leave_to = nullptr;

[[gnu::noinline]] std::uint64_t spin(std::uint64_t rounds) {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < rounds; ++i) {
    sum += i;
    asm volatile("" : "+r"(sum));
  }
  return sum;
}

void on_alternate_stack(int) {
  handled = handled + 1;
  spin(20'000);
  if (leave_to != nullptr) siglongjmp(*leave_to, 1);
}

// For the process, once; what the handler does is the thread's own business.
void install_handler() {
  struct sigaction action {};
  action.sa_handler = on_alternate_stack;
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(kAlternateSignal, &action, nullptr);
}

// An alternate signal stack as long as it lives; the one before is back after that.
class AlternateStack {
 public:
  AlternateStack()
      : memory_(mmap(nullptr, kAlternateBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0)) {
    const stack_t alternate{memory_, 0, kAlternateBytes};
    ready_ = memory_ != MAP_FAILED && sigaltstack(&alternate, &before_) == 0;
  }
  ~AlternateStack() {
    if (ready_) sigaltstack(&before_, nullptr);
    if (memory_ != MAP_FAILED) munmap(memory_, kAlternateBytes);
  }
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;
  bool ready() const { return ready_; }

 private:
  void* memory_;
  stack_t before_{};
  bool ready_ = false;
};

[[gnu::noinline]] std::uint64_t recurse(std::uint64_t depth) {
  volatile char frame[64] = {};
  frame[depth % sizeof(frame)] = 1;
  const std::uint64_t below = depth == 0 ? 0 : recurse(depth - 1);
  return below + static_cast<std::uint64_t>(frame[depth % sizeof(frame)]);
}

[[gnu::noinline]] void jump_from(std::uint64_t depth, jmp_buf& target) {
  volatile char frame[128] = {};
  frame[depth % sizeof(frame)] = 1;
  if (depth > 0) jump_from(depth - 1, target);
  if (frame[depth % sizeof(frame)] == 1) longjmp(target, 7);  // only the innermost comes here
}

}  // namespace

void switch_to_alternate_stack(Turn& turn) {
  install_handler();
  leave_to = nullptr;
  while (turn.goes_on()) {
    const AlternateStack stack;
    turn.expect(stack.ready(), "no alternate stack");
    handled = 0;
    raise(kAlternateSignal);
    turn.expect(handled == 1, "the handler did not run");
  }
}

void recurse_deeply(Turn& turn) {
  constexpr std::uint64_t kDepth = 20'000;  // 2 to 4 MiB
  while (turn.goes_on()) {
    turn.expect(recurse(kDepth) == kDepth + 1, "a frame was overwritten");
  }
}

void jump_out(Turn& turn) {
  while (turn.goes_on()) {
    jmp_buf target;
    const int from = setjmp(target);
    if (from == 0) jump_from(50, target);
    turn.expect(from == 7, "longjmp came back with another value");
  }
}

// The frames between are left, the alternate stack with them, and the mask is as before.
void jump_out_of_handler(Turn& turn) {
  install_handler();
  while (turn.goes_on()) {
    const AlternateStack stack;
    sigjmp_buf target;
    if (sigsetjmp(target, 1) == 0) {
      leave_to = &target;
      raise(kAlternateSignal);
      turn.expect(false, "the handler returned");
    }
    leave_to = nullptr;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    turn.expect(sigismember(&mask, kAlternateSignal) == 0, "the signal stayed blocked");
  }
}

}  // namespace vigil::test
