#include "agent/leakcheck/leave_behind.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace vigil::leakcheck {
void wait_for_ever();
void keep_memory(std::size_t bytes);

namespace {

Result<void> leave_thread() {
  try {
    std::thread(wait_for_ever).detach();
  } catch (const std::system_error& error) {
    return Error::from_errno("cannot start a thread", error.code().value());
  }
  return {};
}

Result<void> leave_descriptor() {
  if (::open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) return Error::from_errno("open", errno);
  return {};
}

Result<void> leave_socket() {
  if (::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0) {
    return Error::from_errno("socket", errno);
  }
  return {};
}

Result<void> leave_timer() {
  sigevent event{};
  event.sigev_notify = SIGEV_NONE;
  timer_t timer{};
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
    return Error::from_errno("timer_create", errno);
  }
  return {};
}

// A child of a process with threads may do little; this one ends at once, and nobody waits for it.
Result<void> leave_process() {
  const pid_t child = ::fork();
  if (child < 0) return Error::from_errno("fork", errno);
  if (child == 0) ::_exit(0);
  return {};
}

Result<void> leave_memory() {
  keep_memory(1024 * 1024);
  return {};
}

}  // namespace

// With linkage, so that the reports name them in a stripped program too.
__attribute__((noinline)) void wait_for_ever() {
  for (;;) ::pause();
}

__attribute__((noinline)) void keep_memory(std::size_t bytes) {
  static auto* const kept = new std::vector<char*>;
  static auto* const mutex = new std::mutex;  // never destroyed: threads may outlive main()
  const std::lock_guard lock(*mutex);
  kept->push_back(new char[bytes]());  // written to, so that it is resident
}

namespace {

struct Kind {
  std::string_view name;
  Result<void> (*leave)();
};

constexpr Kind kKinds[] = {{"thread", leave_thread},   {"descriptor", leave_descriptor},
                           {"socket", leave_socket},   {"timer", leave_timer},
                           {"process", leave_process}, {"heap", leave_memory}};

}  // namespace

std::span<const std::string_view> leak_kinds() {
  static const auto names = [] {
    std::array<std::string_view, std::size(kKinds)> all;
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = kKinds[i].name;
    return all;
  }();
  return names;
}

Result<void> leave_behind(std::string_view kind) {
  for (const Kind& known : kKinds) {
    if (known.name == kind) return known.leave();
  }
  return Error(ErrorCode::kNotFound, "no such kind of leak: " + std::string(kind));
}

}  // namespace vigil::leakcheck
