#include "agent/preload/armed.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "agent/own_descriptors.h"
#include "agent/preload/own_threads.h"
#include "agent/preload/start_pages.h"
#include "agent/resident_agent.h"
#include "agent/resident_log.h"
#include "base/fd.h"
#include "base/signal_mask.h"
#include "sampler/libunwind_shared.h"

namespace vigil::preload {
namespace {

// A child that executes another program does so at once; it shall not start an agent first.
constexpr auto kAfterFork = std::chrono::milliseconds(200);
// From the daemon's setsid(2) to its parent's end.
constexpr int kHeirWaitMs = 5000;
constexpr auto kLastThreadEvery = std::chrono::milliseconds(50);

enum class Standing : std::uint8_t {
  kOut,    // no agent was ever in this process, nor in one that has forked it
  kArmed,  // -> kOut by disarm()
  kQuiet,  // a child of an armed one -> kHeir by has_new_session(); -> kArmed with VIGIL_FOLLOW_FORK
  kHeir,   // -> kArmed when its parent has ended
};

// The process's own. A plain global, because fork handlers and interposed functions must reach it. The agent is never
// destroyed at the process's end: its threads may be at work, and take no longer than the process.
struct Here {
  std::mutex mutex;                    // around arm() and disarm()
  ResidentOptions* options = nullptr;  // of the last arm(); never freed
  ResidentAgent* agent = nullptr;
  std::atomic<Standing> standing{Standing::kOut};
  pid_t forker = 0;  // the process that is in fork(2), or that has forked this one
};
constinit Here here;

// "VIGIL_OWNER=0000001234". The environment points here from the first arm() on; a child that is armed later changes
// the digits only, which no reader of the environment trips over.
constexpr std::size_t kOwnerDigits = 10;
std::array<char, 32> owner_entry{};

void name_owner() {
  const bool is_new = owner_entry[0] == '\0';
  std::array<char, 32> text{};
  ::snprintf(text.data(), text.size(), "%s=%0*d", kOwnerVariable, int{kOwnerDigits}, ::getpid());
  owner_entry = text;
  if (is_new) ::putenv(owner_entry.data());
}

void run_detached(void* (*run)(void*)) noexcept {
  const SignalMaskGuard mask = SignalMaskGuard::program_signals();
  pthread_t thread{};
  if (::pthread_create(&thread, nullptr, run, nullptr) == 0) ::pthread_detach(thread);
}

// --- After fork(2), in the child.

void* arm_after_a_while(void*) {
  std::this_thread::sleep_for(kAfterFork);
  arm_and_say_so(*here.options);
  return nullptr;
}

// Whether the process that forked this one ends within kHeirWaitMs.
bool outlives_parent() {
  const pid_t parent = here.forker;
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, parent, 0)));
  if (::getppid() != parent) return true;
  if (!process) return false;
  pollfd waited{process.get(), POLLIN, 0};
  return ::poll(&waited, 1, kHeirWaitMs) == 1;
}

void* arm_behind_parent(void*) {
  (void)leave_descriptor_table();
  if (outlives_parent()) {
    arm_and_say_so(*here.options);
  } else {
    here.standing = Standing::kQuiet;
  }
  return nullptr;
}

void before_fork() {
  sampler::hold_libunwind();
  here.forker = ::getpid();
}

void after_fork() { sampler::release_libunwind(); }

void in_child() {
  sampler::release_libunwind();
  new (&here.mutex) std::mutex;  // a thread of the parent may have held it
  here.agent = nullptr;
  forget_own_threads();
  if (here.standing == Standing::kOut) return;
  if (here.options->follow_fork == FollowFork::kYes) {
    here.standing = Standing::kQuiet;
    run_detached(arm_after_a_while);
  } else if (here.standing == Standing::kHeir) {
    run_detached(arm_behind_parent);
  } else {
    here.standing = Standing::kQuiet;
  }
}

void* end_with_the_last_thread(void*) {
  // Twice in a row: a thread of the program may start another one and end while the list is read.
  for (int seen = 0; seen < 2; seen = only_own_threads() ? seen + 1 : 0) {
    std::this_thread::sleep_for(kLastThreadEvery);
  }
  ::exit(0);
}

Result<void> arm_locked(ResidentOptions options) {
  if (here.agent != nullptr) return Error(ErrorCode::kBusy, "the agent is in this process already");
  if (Result<void> loaded = sampler::load_libunwind(); !loaded) return loaded;
  if (Result<void> loaded = load_token(options); !loaded) return loaded;
  auto started = ResidentAgent::start(options);
  if (!started) return std::move(started).error();
  here.agent = started->release();
  const bool is_first = here.options == nullptr;
  here.options = new ResidentOptions(std::move(options));
  name_owner();
  here.standing = Standing::kArmed;
  let_go_of_start_pages();
  // Behind the sampler's own handlers, which Agent::start() has registered: in the child these run first.
  if (is_first) ::pthread_atfork(before_fork, after_fork, in_child);
  return {};
}

}  // namespace

Result<void> arm(ResidentOptions options) {
  const std::lock_guard lock(here.mutex);
  return arm_locked(std::move(options));
}

void arm_and_say_so(const ResidentOptions& options) noexcept try {
  ResidentLog log(options.log);
  const Result<void> armed = arm(options);
  log.say(start_line(options, armed ? Result(armed_address()) : armed.error()));
} catch (const std::exception&) {
  // No memory for a line of text.
}

void disarm() {
  const std::lock_guard lock(here.mutex);
  const std::unique_ptr<ResidentAgent> agent(std::exchange(here.agent, nullptr));
  if (agent) here.standing = Standing::kOut;
}

std::string armed_address() {
  const std::lock_guard lock(here.mutex);
  return here.agent != nullptr ? here.agent->address() : std::string();
}

void has_new_session() noexcept {
  Standing quiet = Standing::kQuiet;
  if (here.options == nullptr || here.options->follow_fork == FollowFork::kYes) return;
  if (here.standing.compare_exchange_strong(quiet, Standing::kHeir)) {
    run_detached(arm_behind_parent);
  }
}

void first_thread_exits() noexcept {
  if (here.standing == Standing::kArmed) run_detached(end_with_the_last_thread);
}

}  // namespace vigil::preload
