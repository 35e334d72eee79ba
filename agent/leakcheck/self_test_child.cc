#include <unistd.h>

#include <future>
#include <iostream>
#include <string>
#include <thread>

#include <fmt/core.h>

#include "agent/agent.h"
#include "agent/leakcheck/leave_behind.h"
#include "agent/leakcheck/self_test.h"

namespace vigil::leakcheck {
namespace {

using namespace std::chrono_literals;

// That the watchdog flags what leaks on purpose is no news.
class NoLog final : public LogSink {
 public:
  void write(const LogRecord&) noexcept override {}
};

// A task that never ends, on a thread of its own. Returns when it has begun.
void leave_task(leakwatch::TaskRegistry& tasks) {
  std::promise<void> begun;
  std::thread([&tasks, &begun] {
    const leakwatch::Task task(tasks, tasks.intern("self-test"));
    begun.set_value();
    for (;;) ::pause();
  }).detach();
  begun.get_future().wait();
}

std::string leave_one_of_each(leakwatch::TaskRegistry& tasks) {
  leave_task(tasks);
  for (const std::string_view kind : leak_kinds()) {
    // A thread learns that sampling is on within 16 MiB of its allocations.
    const int times = kind == "heap" ? 64 : 1;
    for (int i = 0; i < times; ++i) {
      const Result<void> left = leave_behind(kind);
      if (!left) return left.error().message();
    }
  }
  return "leaked";
}

}  // namespace

int run_self_test_child() {
  SystemClock clock;
  NoLog log;
  leakwatch::TaskRegistry tasks(clock);
  const auto agent =
      Agent::start({.debug_listen = {"127.0.0.1", 0}, .stuck_after = 50ms}, tasks, log, clock);
  if (!agent) {
    std::cout << agent.error().message() << std::endl;
    return kCouldNotCheck;
  }
  std::cout << "debug " << format_host_port((*agent)->debug_endpoint()) << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "leak") std::cout << leave_one_of_each(tasks) << std::endl;
  }
  ::_exit(kClean);  // threads that leaked use what a return would destroy
}

}  // namespace vigil::leakcheck
