#include "leakwatch/leakcheck/creation_stacks.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "base/thread_id.h"
#include "leakwatch/leakcheck/creations.h"
#include "leakwatch/leakcheck/posix_timers.h"
#include "leakwatch/task_registry.h"

namespace vigil::leakwatch {
namespace {

// note_creation() and the interposed function itself.
constexpr int kOwnFrames = 2;

void note_task(TaskId id) noexcept {
  note_creation(ResourceKind::kTask, static_cast<std::uint64_t>(id), kOwnFrames);
  asm volatile("");  // not a tail call: the walk counts this frame
}

template <typename Function>
Function* next_of(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// What a new thread needs before its own function runs.
struct ThreadStart {
  void* (*start)(void*);
  void* argument;
  Creator creator;
};

void* run_thread(void* argument) {
  auto* const mine = static_cast<ThreadStart*>(argument);
  set_current_scope(mine->creator.scope);
  note_creation(ResourceKind::kThread, static_cast<std::uint64_t>(current_thread_id()),
                mine->creator);
  void* (*const start)(void*) = mine->start;
  void* const start_argument = mine->argument;
  delete mine;
  return start(start_argument);
}

std::vector<std::uint64_t> timer_ids() {
  std::vector<std::uint64_t> ids;
  if (const auto timers = read_posix_timers()) {
    for (const PosixTimer& timer : *timers) ids.push_back(timer.id);
  }
  return ids;
}

// glibc's timer_t is the kernel's id, but for SIGEV_THREAD: then it is a pointer with the top bit
// set, and the id is what is new in the kernel's list.
std::mutex thread_timers_mutex;

// The id that is in the list now and was not `before`.
std::optional<std::uint64_t> new_timer(const std::vector<std::uint64_t>& before) {
  for (const std::uint64_t id : timer_ids()) {
    if (std::find(before.begin(), before.end(), id) == before.end()) return id;
  }
  return std::nullopt;
}

bool has_mode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

}  // namespace

void creation_stacks_note_tasks() noexcept { set_task_begun_hook(note_task); }

}  // namespace vigil::leakwatch

using vigil::leakwatch::forget_creation;
using vigil::leakwatch::kOwnFrames;
using vigil::leakwatch::next_of;
using vigil::leakwatch::note_creation;
using vigil::leakwatch::ResourceKind;

#define VIGIL_INTERPOSED extern "C" __attribute__((noinline, visibility("default")))

// A macro, because the walk counts frames: between the interposed function and note_creation()
// there may be none.
#define VIGIL_NOTE_DESCRIPTOR(fd) \
  if ((fd) >= 0)                  \
  note_creation(ResourceKind::kDescriptor, static_cast<std::uint64_t>(fd), kOwnFrames)

// int NAME(PARAMETERS) that gives a descriptor.
#define VIGIL_DESCRIPTOR_FUNCTION(name, parameters, arguments) \
  VIGIL_INTERPOSED int name parameters {                       \
    static auto* const next = next_of<int parameters>(#name);  \
    const int fd = next arguments;                             \
    VIGIL_NOTE_DESCRIPTOR(fd);                                 \
    return fd;                                                 \
  }

// The same with a mode as a variable argument.
#define VIGIL_OPEN_FUNCTION(name, parameters, arguments)      \
  VIGIL_INTERPOSED int name parameters {                      \
    static auto* const next = next_of<int parameters>(#name); \
    mode_t mode = 0;                                          \
    if (vigil::leakwatch::has_mode(flags)) {                  \
      va_list rest;                                           \
      va_start(rest, flags);                                  \
      mode = va_arg(rest, mode_t);                            \
      va_end(rest);                                           \
    }                                                         \
    const int fd = next arguments;                            \
    VIGIL_NOTE_DESCRIPTOR(fd);                                \
    return fd;                                                \
  }

// int NAME(…) that fills two descriptors.
#define VIGIL_PAIR_FUNCTION(name, parameters, arguments)      \
  VIGIL_INTERPOSED int name parameters {                      \
    static auto* const next = next_of<int parameters>(#name); \
    const int status = next arguments;                        \
    if (status == 0) {                                        \
      VIGIL_NOTE_DESCRIPTOR(fds[0]);                          \
      VIGIL_NOTE_DESCRIPTOR(fds[1]);                          \
    }                                                         \
    return status;                                            \
  }

extern "C" void vigil_creation_stacks_are_linked() noexcept {}

// --- Threads.

VIGIL_INTERPOSED int vigil_creation_stacks_pthread_create(pthread_t* thread,
                                                          const pthread_attr_t* attributes,
                                                          void* (*start)(void*), void* argument) {
  using vigil::leakwatch::ThreadStart;
  static auto* const next =
      next_of<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  auto* const mine = new (std::nothrow) ThreadStart{start, argument, {}};
  if (mine == nullptr) return EAGAIN;
  vigil::leakwatch::capture_creator(mine->creator, kOwnFrames);
  const int failed = next(thread, attributes, vigil::leakwatch::run_thread, mine);
  if (failed != 0) delete mine;
  return failed;
}

extern "C" int pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) noexcept
    __attribute__((weak, alias("vigil_creation_stacks_pthread_create"), visibility("default")));

// --- Descriptors.

VIGIL_OPEN_FUNCTION(open, (const char* path, int flags, ...), (path, flags, mode))
VIGIL_OPEN_FUNCTION(open64, (const char* path, int flags, ...), (path, flags, mode))
VIGIL_OPEN_FUNCTION(openat, (int folder, const char* path, int flags, ...),
                    (folder, path, flags, mode))
VIGIL_OPEN_FUNCTION(openat64, (int folder, const char* path, int flags, ...),
                    (folder, path, flags, mode))
VIGIL_DESCRIPTOR_FUNCTION(creat, (const char* path, mode_t mode), (path, mode))
VIGIL_DESCRIPTOR_FUNCTION(creat64, (const char* path, mode_t mode), (path, mode))
VIGIL_DESCRIPTOR_FUNCTION(mkstemp, (char* name), (name))
VIGIL_DESCRIPTOR_FUNCTION(mkostemp, (char* name, int flags), (name, flags))
VIGIL_DESCRIPTOR_FUNCTION(socket, (int domain, int type, int protocol), (domain, type, protocol))
VIGIL_PAIR_FUNCTION(socketpair, (int domain, int type, int protocol, int* fds),
                    (domain, type, protocol, fds))
VIGIL_DESCRIPTOR_FUNCTION(accept, (int fd_, sockaddr* address, socklen_t* length),
                          (fd_, address, length))
VIGIL_DESCRIPTOR_FUNCTION(accept4, (int fd_, sockaddr* address, socklen_t* length, int flags),
                          (fd_, address, length, flags))
VIGIL_PAIR_FUNCTION(pipe, (int* fds), (fds))
VIGIL_PAIR_FUNCTION(pipe2, (int* fds, int flags), (fds, flags))
VIGIL_DESCRIPTOR_FUNCTION(dup, (int old), (old))
VIGIL_DESCRIPTOR_FUNCTION(dup2, (int old, int wanted), (old, wanted))
VIGIL_DESCRIPTOR_FUNCTION(dup3, (int old, int wanted, int flags), (old, wanted, flags))
VIGIL_DESCRIPTOR_FUNCTION(eventfd, (unsigned int value, int flags), (value, flags))
VIGIL_DESCRIPTOR_FUNCTION(epoll_create, (int size), (size))
VIGIL_DESCRIPTOR_FUNCTION(epoll_create1, (int flags), (flags))
VIGIL_DESCRIPTOR_FUNCTION(timerfd_create, (int clock, int flags), (clock, flags))
VIGIL_DESCRIPTOR_FUNCTION(inotify_init, (), ())
VIGIL_DESCRIPTOR_FUNCTION(inotify_init1, (int flags), (flags))
VIGIL_DESCRIPTOR_FUNCTION(memfd_create, (const char* name, unsigned int flags), (name, flags))
VIGIL_DESCRIPTOR_FUNCTION(signalfd, (int fd_, const sigset_t* mask, int flags), (fd_, mask, flags))

VIGIL_INTERPOSED FILE* fopen(const char* path, const char* mode) {
  static auto* const next = next_of<FILE*(const char*, const char*)>("fopen");
  FILE* const file = next(path, mode);
  if (file != nullptr) VIGIL_NOTE_DESCRIPTOR(::fileno(file));
  return file;
}

VIGIL_INTERPOSED FILE* fopen64(const char* path, const char* mode) {
  static auto* const next = next_of<FILE*(const char*, const char*)>("fopen64");
  FILE* const file = next(path, mode);
  if (file != nullptr) VIGIL_NOTE_DESCRIPTOR(::fileno(file));
  return file;
}

VIGIL_INTERPOSED DIR* opendir(const char* path) {
  static auto* const next = next_of<DIR*(const char*)>("opendir");
  DIR* const folder = next(path);
  if (folder != nullptr) VIGIL_NOTE_DESCRIPTOR(::dirfd(folder));
  return folder;
}

// Before the call: afterwards the number may be somebody else's.
VIGIL_INTERPOSED int close(int fd) {
  static auto* const next = next_of<int(int)>("close");
  if (fd >= 0) forget_creation(ResourceKind::kDescriptor, static_cast<std::uint64_t>(fd));
  return next(fd);
}

// --- Timers.

VIGIL_INTERPOSED int timer_create(clockid_t clock, sigevent* event, timer_t* timer) noexcept {
  using namespace vigil::leakwatch;
  static auto* const next = next_of<int(clockid_t, sigevent*, timer_t*)>("timer_create");
  if (event == nullptr || event->sigev_notify != SIGEV_THREAD) {
    const int status = next(clock, event, timer);
    if (status == 0) {
      note_creation(ResourceKind::kTimer, reinterpret_cast<std::uintptr_t>(*timer), kOwnFrames);
    }
    return status;
  }
  const std::lock_guard lock(thread_timers_mutex);
  const std::vector<std::uint64_t> before = timer_ids();
  const int status = next(clock, event, timer);
  if (status != 0) return status;
  if (const auto id = new_timer(before)) note_creation(ResourceKind::kTimer, *id, kOwnFrames);
  return status;
}

// --- Child processes.

VIGIL_INTERPOSED pid_t fork() noexcept {
  static auto* const next = next_of<pid_t()>("fork");
  const pid_t child = next();
  if (child == 0) vigil::leakwatch::adopt_creations_after_fork();
  if (child > 0)
    note_creation(ResourceKind::kProcess, static_cast<std::uint64_t>(child), kOwnFrames);
  return child;
}

#define VIGIL_SPAWN_FUNCTION(name)                                                               \
  VIGIL_INTERPOSED int name(                                                                     \
      pid_t* child, const char* path, const posix_spawn_file_actions_t* actions,                 \
      const posix_spawnattr_t* attributes, char* const arguments[], char* const environment[]) { \
    static auto* const next =                                                                    \
        next_of<int(pid_t*, const char*, const posix_spawn_file_actions_t*,                      \
                    const posix_spawnattr_t*, char* const[], char* const[])>(#name);             \
    pid_t made = 0;                                                                              \
    const int failed = next(&made, path, actions, attributes, arguments, environment);           \
    if (failed != 0) return failed;                                                              \
    note_creation(ResourceKind::kProcess, static_cast<std::uint64_t>(made), kOwnFrames);         \
    if (child != nullptr) *child = made;                                                         \
    return 0;                                                                                    \
  }

VIGIL_SPAWN_FUNCTION(posix_spawn)
VIGIL_SPAWN_FUNCTION(posix_spawnp)
