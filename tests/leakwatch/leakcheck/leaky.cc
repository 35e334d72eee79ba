#include "tests/leakwatch/leakcheck/leaky.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace vigil::test {
namespace {

int checked(int value) {
  if (value < 0) throw std::runtime_error("a system call of the fixture failed");
  return value;
}

End closes(int fd) {
  checked(fd);
  return [fd] { ::close(fd); };
}

End kills(pid_t child) {
  return [child] {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  };
}

struct Waiting {
  std::promise<void> running;
  std::promise<void> let_go;
};

#define LEAKY __attribute__((noinline, noclone))

}  // namespace

LEAKY void leaky_thread_waits(Waiting& waiting) {
  waiting.running.set_value();
  waiting.let_go.get_future().wait();
  asm volatile("");  // not a tail call
}

LEAKY End leaky_begin_thread() {
  const auto waiting = std::make_shared<Waiting>();
  const auto tid = std::make_shared<std::atomic<pid_t>>(0);
  const auto thread = std::make_shared<std::thread>([waiting, tid] {
    *tid = ::gettid();
    leaky_thread_waits(*waiting);
  });
  waiting->running.get_future().wait();
  return [waiting, thread, tid] {
    waiting->let_go.set_value();
    thread->join();
    // join() returns when the thread's last word is written, and the kernel lists it a moment longer.
    const std::string listed = "/proc/self/task/" + std::to_string(tid->load());
    while (::access(listed.c_str(), F_OK) == 0) std::this_thread::yield();
  };
}

LEAKY End leaky_begin_task() {
  auto task = std::make_shared<leakwatch::Task>(leaky_tasks(), leaky_tasks().intern("leaky task"));
  return [task]() mutable { task.reset(); };
}

LEAKY End leaky_begin_file() { return closes(::open("/proc/self/status", O_RDONLY | O_CLOEXEC)); }
LEAKY End leaky_begin_stream() {
  FILE* const file = ::fopen("/proc/self/status", "re");
  return [file] { ::fclose(file); };
}
LEAKY End leaky_begin_folder() {
  DIR* const folder = ::opendir("/proc/self");
  return [folder] { ::closedir(folder); };
}
LEAKY End leaky_begin_temporary() {
  char name[] = "/tmp/vigil-leaky-XXXXXX";
  const int fd = checked(::mkostemp(name, O_CLOEXEC));
  ::unlink(name);
  return closes(fd);
}
LEAKY End leaky_begin_duplicate() { return closes(::dup(2)); }
LEAKY End leaky_begin_eventfd() { return closes(::eventfd(0, EFD_CLOEXEC)); }
LEAKY End leaky_begin_epoll() { return closes(::epoll_create1(EPOLL_CLOEXEC)); }
LEAKY End leaky_begin_timerfd() { return closes(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)); }
LEAKY End leaky_begin_pipe_end() {
  int fds[2];
  checked(::pipe2(fds, O_CLOEXEC));
  ::close(fds[1]);
  return closes(fds[0]);
}
LEAKY End leaky_begin_socket() { return closes(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
LEAKY End leaky_begin_socket_of_pair() {
  int fds[2];
  checked(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
  ::close(fds[1]);
  return closes(fds[0]);
}

LEAKY End leaky_begin_timer() {
  sigevent event{};
  event.sigev_notify = SIGEV_NONE;
  timer_t timer{};
  checked(::timer_create(CLOCK_MONOTONIC, &event, &timer));
  return [timer] { ::timer_delete(timer); };
}

LEAKY End leaky_begin_process() {
  const pid_t child = checked(::fork());
  if (child == 0) {
    // Must not outlive a test program that leaks it, nor keep its output open.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  return kills(child);
}

LEAKY End leaky_begin_spawned() {
  char name[] = "sleep";
  char argument[] = "30";
  char* const arguments[] = {name, argument, nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addclose(&actions, 1);
  ::posix_spawn_file_actions_addclose(&actions, 2);
  pid_t child = 0;
  checked(-::posix_spawnp(&child, name, &actions, nullptr, arguments, environ));
  ::posix_spawn_file_actions_destroy(&actions);
  return kills(child);
}

// It has ended, but nobody has waited for it.
LEAKY End leaky_begin_zombie() {
  const pid_t child = checked(::fork());
  if (child == 0) ::_exit(0);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  return [child] { ::waitpid(child, nullptr, 0); };
}

leakwatch::TaskRegistry& leaky_tasks() {
  static SystemClock clock;
  static leakwatch::TaskRegistry tasks(clock, {.tasks_max = 64});
  return tasks;
}

const std::vector<LeakKind>& leak_kinds() {
  static const std::vector<LeakKind> kinds = {
      {"thread", leaky_begin_thread, "thread", "vigil::test::leaky_begin_thread",
       "vigil::test::leaky_thread_waits"},
      {"task", leaky_begin_task, "task", "vigil::test::leaky_begin_task", "main"},
      {"file", leaky_begin_file, "descriptor", "vigil::test::leaky_begin_file", ""},
      {"stream", leaky_begin_stream, "descriptor", "vigil::test::leaky_begin_stream", ""},
      {"folder", leaky_begin_folder, "descriptor", "vigil::test::leaky_begin_folder", ""},
      {"temporary", leaky_begin_temporary, "descriptor", "vigil::test::leaky_begin_temporary", ""},
      {"duplicate", leaky_begin_duplicate, "descriptor", "vigil::test::leaky_begin_duplicate", ""},
      {"eventfd", leaky_begin_eventfd, "descriptor", "vigil::test::leaky_begin_eventfd", ""},
      {"epoll", leaky_begin_epoll, "descriptor", "vigil::test::leaky_begin_epoll", ""},
      {"timerfd", leaky_begin_timerfd, "descriptor", "vigil::test::leaky_begin_timerfd", ""},
      {"pipe", leaky_begin_pipe_end, "descriptor", "vigil::test::leaky_begin_pipe_end", ""},
      {"socket", leaky_begin_socket, "socket", "vigil::test::leaky_begin_socket", ""},
      {"socketpair", leaky_begin_socket_of_pair, "socket",
       "vigil::test::leaky_begin_socket_of_pair", ""},
      {"timer", leaky_begin_timer, "timer", "vigil::test::leaky_begin_timer", ""},
      {"process", leaky_begin_process, "child process", "vigil::test::leaky_begin_process", ""},
      {"spawned", leaky_begin_spawned, "child process", "vigil::test::leaky_begin_spawned", ""},
      {"zombie", leaky_begin_zombie, "child process", "vigil::test::leaky_begin_zombie", ""},
  };
  return kinds;
}

}  // namespace vigil::test
