// Code that no unwinder understands, and signals of the program's own.
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "tests/stress/disturbance.h"

namespace vigil::test {
namespace {

// Counts down with a frame pointer that leads nowhere and a stack pointer that the call frame
// information does not know of.
[[gnu::noinline]] std::uint64_t count_with_garbage_frame(std::uint64_t rounds) {
  asm volatile(
      "sub $128, %%rsp\n"  // over the red zone
      "push %%rbp\n"
      "mov $0x123456789abc, %%rbp\n"
      "1: dec %0\n"
      "jnz 1b\n"
      "pop %%rbp\n"
      "add $128, %%rsp\n"
      : "+a"(rounds)  // any register but %rbp
      :
      : "memory", "cc");
  return rounds;
}

// What a just-in-time compiler leaves: a page with a function, and no unwind table for it.
class JitPage {
 public:
  // int f(int n, void (*call)()): calls `call`, counts n down to 0, and returns it.
  using Function = int (*)(int, void (*)());

  JitPage()
      : page_(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    static constexpr unsigned char kCode[] = {
        0x53,                    // push %rbx
        0x48, 0x83, 0xec, 0x30,  // sub  $48, %rsp
        0x89, 0xfb,              // mov  %edi, %ebx
        0xff, 0xd6,              // call *%rsi
        0xff, 0xcb,              // dec  %ebx
        0x75, 0xfc,              // jnz  -4
        0x89, 0xd8,              // mov  %ebx, %eax
        0x48, 0x83, 0xc4, 0x30,  // add  $48, %rsp
        0x5b,                    // pop  %rbx
        0xc3,                    // ret
    };
    if (page_ == MAP_FAILED) return;
    std::memcpy(page_, kCode, sizeof(kCode));
    ready_ = mprotect(page_, kBytes, PROT_READ | PROT_EXEC) == 0;
  }
  ~JitPage() {
    if (page_ != MAP_FAILED) munmap(page_, kBytes);
  }
  JitPage(const JitPage&) = delete;
  JitPage& operator=(const JitPage&) = delete;

  bool ready() const { return ready_; }
  Function function() const { return reinterpret_cast<Function>(page_); }

 private:
  static constexpr std::size_t kBytes = 4096;
  void* page_;
  bool ready_ = false;
};

thread_local std::uint64_t called_back = 0;

void call_back() {
  ++called_back;
  count_with_garbage_frame(5'000);
}

constexpr int kOwnSignal = SIGUSR1;
constexpr long kOwnPeriodNs = 100'000;

thread_local volatile std::uint64_t own_signals = 0;

void on_own_signal(int) {
  const int before = errno;
  own_signals = own_signals + 1;
  errno = ENOTUNIQ;  // what a handler's own calls do
  count_with_garbage_frame(500);
  errno = before;
}

}  // namespace

void run_without_frame_pointer(Turn& turn) {
  while (turn.goes_on()) {
    turn.expect(count_with_garbage_frame(50'000) == 0, "a register was changed");
  }
}

void run_without_unwind_tables(Turn& turn) {
  while (turn.goes_on()) {
    const JitPage page;
    turn.expect(page.ready(), "no page");
    if (!page.ready()) continue;
    called_back = 0;
    for (int i = 0; i < 10; ++i) {
      turn.expect(page.function()(20'000, call_back) == 0, "a register was changed");
    }
    turn.expect(called_back == 10, "a call was lost");
  }
}

void take_own_signals(Turn& turn) {
  struct sigaction action {};
  action.sa_handler = on_own_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(kOwnSignal, &action, nullptr);

  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = kOwnSignal;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  timer_t timer{};
  const bool made = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
  turn.expect(made, "no timer");
  if (!made) return;
  const itimerspec period{{0, kOwnPeriodNs}, {0, kOwnPeriodNs}};
  timer_settime(timer, 0, &period, nullptr);
  std::uint64_t before = own_signals;
  while (turn.goes_on()) {
    errno = EDOM;
    // Until one has come: without them this ends by the matrix's deadline.
    while (own_signals == before) count_with_garbage_frame(1'000);
    before = own_signals;
    turn.expect(errno == EDOM, "errno was changed");
  }
  timer_delete(timer);
}

}  // namespace vigil::test
