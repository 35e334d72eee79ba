// What libvigil_agent.so puts in front of the C library's functions of the same names, beside malloc and the locks. All
// of them pass everything on; without VIGIL_LISTEN they do nothing else.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <exception>
#include <optional>

#include "agent/environment.h"
#include "agent/preload/armed.h"
#include "agent/resident_log.h"

#define VIGIL_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using Main = int (*)(int, char**, char**);

template <typename Function>
Function* next_function(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

constinit Main program_main = nullptr;

// Out of main's frame: what is behind it is the program's own main, called as if this had not been.
__attribute__((noinline)) void arm_from_environment() noexcept try {
  const auto wanted = vigil::agent_environment(::getenv, program_invocation_short_name, ::getpid());
  if (!wanted) {
    vigil::ResidentLog("stderr").say(wanted.error().message() +
                                     "; the program runs without the agent");
  } else if (*wanted) {
    vigil::preload::arm_and_say_so(**wanted);
  }
} catch (const std::exception&) {
  // No memory: the program has better use for what there is.
}

int armed_main(int count, char** arguments, char** environment) {
  arm_from_environment();
  // Not `environment`: VIGIL_OWNER is in the new one.
  (void)environment;
  return program_main(count, arguments, ::environ);
}

// A program with more rights than its user (setuid, file capabilities) shows nothing of itself.
bool may_arm() { return ::getauxval(AT_SECURE) == 0 && ::getenv("VIGIL_LISTEN") != nullptr; }

}  // namespace

// Every program's start calls it, with its main.
VIGIL_EXPORT int __libc_start_main(Main main, int count, char** arguments, void (*init)(),
                                   void (*fini)(), void (*rtld_fini)(), void* stack_end) {
  using Start = int(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);
  if (may_arm()) {
    program_main = main;
    main = armed_main;
  }
  return next_function<Start>("__libc_start_main")(main, count, arguments, init, fini, rtld_fini,
                                                   stack_end);
}

VIGIL_EXPORT pid_t setsid() noexcept {
  static auto* const next = next_function<pid_t()>("setsid");
  const pid_t session = next();
  const int saved_errno = errno;
  if (session >= 0) vigil::preload::has_new_session();
  errno = saved_errno;
  return session;
}

// It forks, and calls setsid(2) inside the C library.
VIGIL_EXPORT int daemon(int keep_folder, int keep_streams) noexcept {
  static auto* const next = next_function<int(int, int)>("daemon");
  const int result = next(keep_folder, keep_streams);
  const int saved_errno = errno;
  if (result == 0) vigil::preload::has_new_session();
  errno = saved_errno;
  return result;
}

VIGIL_EXPORT void pthread_exit(void* result) {
  static auto* const next = next_function<void(void*)>("pthread_exit");
  if (::gettid() == ::getpid()) vigil::preload::first_thread_exits();
  next(result);
  __builtin_unreachable();
}
