// P9.3: an agent when what it calls fails: the first call, the second, … over its start and end, and over all of its pages
// that do not take their seconds. Whatever fails, the program that it is in goes on.
#include "tests/support/faults.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "agent/agent.h"
#include "base/clock.h"
#include "leakwatch/task_registry.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;

namespace vigil::test {
namespace {

std::size_t entries(const char* folder) {
  namespace fs = std::filesystem;
  const auto all = fs::directory_iterator(folder);
  return static_cast<std::size_t>(std::distance(fs::begin(all), fs::end(all)));
}

// What the process has open. The symbolizer keeps files of symbols open, a bounded number: those are left out, but for a
// second descriptor of the same file.
std::vector<std::string> open_descriptors() {
  std::vector<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;  // the iterator's own
    const std::string target = std::filesystem::read_symlink(entry.path(), gone);
    if (!gone) all.push_back(target);
  }
  std::sort(all.begin(), all.end());
  std::vector<std::string> seen;
  const auto is_kept = [&](const std::string& target) {
    const bool first = std::find(seen.begin(), seen.end(), target) == seen.end();
    seen.push_back(target);
    return first && target.starts_with("/") && !target.starts_with("/dev/") &&
           !target.starts_with("/proc/");
  };
  std::erase_if(all, is_kept);
  return all;
}

// Whether all threads but this one have gone, which a joined one has a moment later.
bool is_alone() {
  const auto until = std::chrono::steady_clock::now() + 5s;
  while (entries("/proc/self/task") > 1 && std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
  return entries("/proc/self/task") == 1;
}

// Allocates nothing that could fail.
class Silence final : public LogSink {
 public:
  void write(const LogRecord&) noexcept override {}
};

struct Process {
  Result<std::unique_ptr<Agent>> start() {
    AgentOptions options = [] {
      const Unharmed us;
      AgentOptions ours;
      ours.debug_listen = {"127.0.0.1", 0};
      ours.command_line = {"faults"};
      ours.keep_profiles.when_stuck_reports = 1'000'000;
      return ours;
    }();
    return Agent::start(std::move(options), tasks, sink, clock);
  }
  SystemClock clock;
  Silence sink;
  leakwatch::TaskRegistry tasks{clock};
};

// Malloc fails twice in a row: operator new asks again (vigil::malloc_interpose).
constexpr Fault kFaults[] = {
    {"malloc: ENOMEM", Call::kMalloc, ENOMEM, 0, 2},
    {"open: EMFILE", Call::kOpen, EMFILE},
    {"read: EINTR", Call::kRead, EINTR},
    {"read: one byte", Call::kRead, 0},
};

constexpr Fault kStartFaults[] = {
    {"mmap: ENOMEM", Call::kMmap, ENOMEM},
    {"pthread_create: EAGAIN", Call::kPthreadCreate, EAGAIN},
    {"socket: EMFILE", Call::kSocket, EMFILE},
    {"epoll_create1: EMFILE", Call::kEpollCreate, EMFILE},
    {"eventfd: EMFILE", Call::kEventfd, EMFILE},
};

constexpr Fault kPageFaults[] = {
    {"opendir: EMFILE", Call::kOpendir, EMFILE},
};

constexpr const char* kPages[] = {
    "/debug/",
    "/debug/pprof/",
    "/debug/pprof/goroutine",
    "/debug/pprof/goroutine?debug=2",
    "/debug/pprof/heap",
    "/debug/pprof/allocs?debug=1",
    "/debug/pprof/mutex",
    "/debug/pprof/block?debug=1",
    "/debug/pprof/threadcreate",
    "/debug/tasks",
    "/debug/locks",
    "/debug/leakwatch?format=json",
    "/debug/leakcheck",
    "/debug/vars",
    "/debug/conns",
    "/debug/maps",
    "/debug/buildinfo",
    "/debug/profiles",
    "/metrics",
    "/healthz",
};

struct Answer {
  const char* page;
  int status;
  bool empty;
};

std::vector<Answer> all_pages(const Agent& agent) {
  constexpr DebugRequest::Field kHost{"Host", "localhost"};
  std::vector<Answer> answers;
  for (const char* page : kPages) {
    const DebugResponse response =
        agent.debug_page({.target = page, .headers = {&kHost, 1}, .peer = "127.0.0.1"});
    const Unharmed us;
    answers.push_back({page, response.status, response.body.empty()});
  }
  return answers;
}

void start_through(Process& process, const Fault& fault) {
  const auto descriptors = open_descriptors();
  std::uint64_t n = 0;
  std::uint64_t calls = 0;
  do {
    n = next_fault(n);
    std::string refused;
    {
      const FaultAt injected(fault, n);
      const auto agent = process.start();
      calls = injected.calls();
      const Unharmed us;
      if (!agent) refused = agent.error().message();
    }
    INFO(fault.name << ", call " << n << " of " << calls);
    CHECK((refused.empty() || refused.size() > 10));
    CHECK(open_descriptors() == descriptors);
    CHECK(is_alone());
  } while (calls >= n);
  INFO(fault.name);
  CHECK(n > 1);
  const auto after = process.start();
  INFO((after ? "" : after.error().message()));
  CHECK(after.ok());
}

TEST_CASE("P9.3: an agent starts, or says why not, when the n-th call of each sort fails") {
  Process process;
  for (int i = 0; i < 2; ++i) REQUIRE(process.start().ok());  // what is made once is there
  for (const Fault& fault : kStartFaults) start_through(process, fault);
  for (const Fault& fault : kFaults) start_through(process, fault);
}

// All pages are a fifth of a second and some 50,000 allocations: larger steps.
constexpr std::uint64_t kPart = 8;

void pages_through(const Agent& agent, const Fault& fault) {
  const auto descriptors = open_descriptors();
  std::uint64_t n = 0;
  std::uint64_t calls = 0;
  do {
    n = next_fault(n, kPart);
    std::vector<Answer> answers;
    {
      const FaultAt injected(fault, n);
      answers = all_pages(agent);
      calls = injected.calls();
    }
    INFO(fault.name << ", call " << n << " of " << calls);
    CHECK(answers.size() == std::size(kPages));
    for (const Answer& answer : answers) {
      INFO(answer.page << ": " << answer.status);
      CHECK((answer.status == 200 || answer.status >= 400));
      CHECK((answer.status != 200 || !answer.empty));
    }
    CHECK(open_descriptors() == descriptors);
  } while (calls >= n);
  INFO(fault.name);
  CHECK(n > 1);
  for (const Answer& answer : all_pages(agent)) {
    INFO(answer.page);
    CHECK(answer.status == 200);
  }
}

TEST_CASE(
    "P9.3: every page answers when the n-th call of each sort fails, and is whole afterwards") {
  Process process;
  const auto agent = process.start();
  REQUIRE(agent.ok());
  for (const Answer& answer : all_pages(**agent)) {
    INFO(answer.page);
    CHECK(answer.status == 200);
  }
  for (const Fault& fault : kPageFaults) pages_through(**agent, fault);
  for (const Fault& fault : kFaults) pages_through(**agent, fault);
}

}  // namespace
}  // namespace vigil::test
