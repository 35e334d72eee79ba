#include "tests/support/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "tests/support/sanitizer.h"

extern char** environ;

namespace vigil::test {
namespace {

constexpr auto kWaitLimit = std::chrono::seconds(10);

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& text : strings) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) merged.push_back(text);
  }
  for (const auto& [name, value] : added) merged.push_back(name + "=" + value);
  return merged;
}

// Whether `part` stands in `text` so often.
bool holds(const std::string& text, const std::string& part, std::size_t times) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++found;
  return found >= times;
}

// In a build under a sanitizer: ends the test if one has reported the program that it started. Who
// only asks a server sees right answers beside a race, and most tests kill theirs unread.
void pass_on_report(const std::string& written) {
  if (!kUnderSanitizer) return;
  constexpr const char* kReports[] = {"Sanitizer: ", "runtime error: "};
  for (const char* const report : kReports) {
    if (written.find(report) == std::string::npos) continue;
    std::fprintf(stderr, "a program that the test has started wrote:\n%s\n", written.c_str());
    std::_Exit(EXIT_FAILURE);
  }
}

}  // namespace

struct Subprocess::Output {
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  std::mutex mutex;
  std::condition_variable changed;
  std::string out_text;  // guarded by mutex, as the next two
  std::string err_text;
  bool ended = false;
  std::thread reader;

  void read_all() {
    pollfd polled[2] = {{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}};
    std::string* texts[2] = {&out_text, &err_text};
    while (polled[0].fd >= 0 || polled[1].fd >= 0) {
      if (poll(polled, 2, -1) < 0) continue;
      for (int i = 0; i < 2; ++i) {
        if (polled[i].fd < 0 || polled[i].revents == 0) continue;
        char buffer[16384];
        const ssize_t n = ::read(polled[i].fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
          polled[i].fd = -1;
          continue;
        }
        std::lock_guard lock(mutex);
        texts[i]->append(buffer, static_cast<std::size_t>(n));
        changed.notify_all();
      }
    }
    std::lock_guard lock(mutex);
    ended = true;
    changed.notify_all();
  }

  bool wait_for(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, kWaitLimit, [&] { return condition() || ended; });
    return condition();
  }
};

Subprocess::Subprocess(std::vector<std::string> command,
                       std::map<std::string, std::string> environment)
    : output_(std::make_unique<Output>()) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output_->out.write.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, output_->err.write.get(), 2);
  std::vector<std::string> merged = merged_environment(environment);
  const int error = posix_spawnp(&pid_, command[0].c_str(), &actions, nullptr,
                                 pointers(command).data(), pointers(merged).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw std::runtime_error("cannot start " + command[0] + ": " +
                             std::generic_category().message(error));
  }
  output_->out.write.reset();
  output_->err.write.reset();
  output_->reader = std::thread([output = output_.get()] { output->read_all(); });
}

Subprocess::~Subprocess() {
  if (!reaped_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  output_->reader.join();
  pass_on_report(output_->err_text);
}

void Subprocess::kill(int signal) { ::kill(pid_, signal); }

std::string Subprocess::out() const {
  std::lock_guard lock(output_->mutex);
  return output_->out_text;
}

std::string Subprocess::err() const {
  std::lock_guard lock(output_->mutex);
  return output_->err_text;
}

bool Subprocess::wait_for_out(const std::string& text, std::size_t times) {
  return output_->wait_for([&] { return holds(output_->out_text, text, times); });
}

bool Subprocess::wait_for_err(const std::string& text, std::size_t times) {
  return output_->wait_for([&] { return holds(output_->err_text, text, times); });
}

Finished Subprocess::wait(Duration timeout) {
  Finished finished;
  {
    // The pipes close when the program ends (unless a child of its keeps them: the timeout covers
    // that too).
    std::unique_lock lock(output_->mutex);
    if (!output_->changed.wait_for(lock, timeout, [&] { return output_->ended; })) {
      ::kill(pid_, SIGKILL);
    }
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
  if (WIFEXITED(status)) finished.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) finished.signal = WTERMSIG(status);
  finished.out = out();
  finished.err = err();
  return finished;
}

Finished run(std::vector<std::string> command, Duration timeout) {
  return Subprocess(std::move(command)).wait(timeout);
}

}  // namespace vigil::test
