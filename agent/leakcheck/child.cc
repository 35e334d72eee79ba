#include "agent/leakcheck/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include <fmt/core.h>

#include "agent/leakcheck/interruption.h"
#include "base/signal_mask.h"

extern char** environ;

namespace vigil::leakcheck {
namespace {

constexpr Duration kPollPause = std::chrono::milliseconds(10);

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> fds{};
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return Error::from_errno("pipe2", errno);
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// What would end us between a child's start and its note.
sigset_t interruptions() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

// What posix_spawn is told, freed at the end. The child has our signals as we were given them: the mask
// of now, and SIGPIPE, which we ignore.
struct Spawn {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  Spawn() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    sigset_t signals;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &signals);
    ::posix_spawnattr_setsigmask(&attributes, &signals);
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    ::posix_spawnattr_setsigdefault(&attributes, &signals);
  }
  ~Spawn() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
};

}  // namespace

Result<Child> Child::start(const std::vector<std::string>& command, ChildPipes pipes) {
  Child child;
  Spawn spawn;
  Pipe in;
  Pipe out;
  if (pipes == ChildPipes::kInAndOut) {
    auto to_child = make_pipe();
    auto from_child = make_pipe();
    if (!to_child) return to_child.error();
    if (!from_child) return from_child.error();
    in = *std::move(to_child);
    out = *std::move(from_child);
    ::posix_spawn_file_actions_adddup2(&spawn.actions, in.read.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&spawn.actions, out.write.get(), STDOUT_FILENO);
  }
  if (pipes == ChildPipes::kNone) {
    ::posix_spawn_file_actions_adddup2(&spawn.actions, STDERR_FILENO, STDOUT_FILENO);
  }
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const SignalMaskGuard not_now(interruptions());
  const int failed = ::posix_spawnp(&child.pid_, arguments[0], &spawn.actions, &spawn.attributes,
                                    arguments.data(), environ);
  if (failed != 0) {
    child.ended_ = true;
    return Error::from_errno(fmt::format("cannot start {}", command[0]), failed);
  }
  note_child(child.pid_);
  child.in_ = std::move(in.write);
  child.out_ = std::move(out.read);
  return child;
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      ended_(std::exchange(other.ended_, true)),
      status_(other.status_),
      in_(std::move(other.in_)),
      out_(std::move(other.out_)),
      read_(std::move(other.read_)) {}

Child::~Child() {
  if (pid_ < 0) return;
  if (!has_ended()) {
    ::kill(-pid_, SIGTERM);
    if (!wait_until_ended(std::chrono::steady_clock::now() + kChildGrace)) {
      ::kill(-pid_, SIGKILL);
      (void)wait();
    }
  }
}

void Child::note_end() {
  ended_ = true;
  forget_child(pid_);
}

bool Child::has_ended() {
  if (!ended_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) note_end();
  return ended_;
}

bool Child::wait_until_ended(MonotonicTime deadline) {
  while (!has_ended() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kPollPause);
  }
  return ended_;
}

std::string Child::wait() {
  while (!ended_) {
    if (::waitpid(pid_, &status_, 0) == pid_ || errno != EINTR) note_end();
  }
  return end_text();
}

std::string Child::end_text() const {
  if (WIFSIGNALED(status_)) return fmt::format("signal {}", WTERMSIG(status_));
  const int status = WEXITSTATUS(status_);
  return status == 0 ? "" : fmt::format("exit status {}", status);
}

Result<std::string> Child::read_line(MonotonicTime deadline) {
  for (;;) {
    const std::size_t end = read_.find('\n');
    if (end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd readable{.fd = out_.get(), .events = POLLIN, .revents = 0};
    const int ready =
        ::poll(&readable, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready == 0) return Error(ErrorCode::kDeadlineExceeded, "it said nothing in time");
    std::array<char, 4096> buffer;
    const ssize_t got = ready < 0 ? -1 : ::read(out_.get(), buffer.data(), buffer.size());
    if (got == 0) return Error(ErrorCode::kClosed, "it ended");
    if (got < 0 && errno != EINTR) return Error::from_errno("cannot read its output", errno);
    if (got > 0) read_.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

Result<void> Child::write_line(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(in_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return Error::from_errno("cannot write to its input", errno);
  }
  return {};
}

}  // namespace vigil::leakcheck
