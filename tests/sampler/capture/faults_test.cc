// The sampler when what it calls fails or does less than it might: open, read, opendir, mmap, timer_create, the first
// call, the second, … until a run makes fewer. Replaced in this executable by the linker (--wrap), for our objects only.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <string>
#include <vector>

#include "sampler/contention_profiler.h"
#include "sampler/cpu_profiler.h"
#include "sampler/wall_profiler.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace {

enum class Call : std::uint8_t { kNone, kOpen, kRead, kShortRead, kOpendir, kMmap, kTimerCreate };

std::atomic<Call> failing{Call::kNone};
std::atomic<int> failing_error{0};
std::atomic<int> calls{0};
std::atomic<int> fail_at{0};

// Whether this call of that sort is to fail; errno is set then.
bool fails(Call call) {
  if (failing.load() != call || ++calls != fail_at.load()) return false;
  errno = failing_error.load();
  return true;
}

}  // namespace

extern "C" {
// NOLINTBEGIN: the linker's names
int __real_open(const char* path, int flags, ...);
int __wrap_open(const char* path, int flags, ...) {
  if (fails(Call::kOpen)) return -1;
  va_list more;
  va_start(more, flags);
  const unsigned mode = (flags & O_CREAT) != 0 ? va_arg(more, unsigned) : 0;
  va_end(more);
  return __real_open(path, flags, mode);
}

ssize_t __real_read(int fd, void* into, size_t size);
ssize_t __wrap_read(int fd, void* into, size_t size) {
  if (fails(Call::kRead)) return -1;
  return __real_read(fd, into, size > 0 && fails(Call::kShortRead) ? 1 : size);
}

DIR* __real_opendir(const char* path);
DIR* __wrap_opendir(const char* path) {
  return fails(Call::kOpendir) ? nullptr : __real_opendir(path);
}

void* __real_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset);
void* __wrap_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  return fails(Call::kMmap) ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}

int __real_timer_create(clockid_t clock, sigevent* event, timer_t* timer);
int __wrap_timer_create(clockid_t clock, sigevent* event, timer_t* timer) {
  return fails(Call::kTimerCreate) ? -1 : __real_timer_create(clock, event, timer);
}
// NOLINTEND
}

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

std::size_t open_descriptors() {
  namespace fs = std::filesystem;
  const auto all = fs::directory_iterator("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(fs::begin(all), fs::end(all)));
}

// What one run with everything gave: the errors, in order, and what was seen of the spinning thread.
struct Run {
  std::vector<std::string> errors;
  bool listed = false;
  bool watched = false;
};

template <typename T>
bool holds(Run& run, const Result<T>& result) {
  if (!result) run.errors.push_back(result.error().message());
  return result.ok();
}

// Tables, a dump, a CPU profile and a wall profile of a process with a thread that spins.
Run run_everything(pid_t spinning) {
  Run run;
  SystemClock clock;
  Modules modules;
  Unwinder unwinder(modules);
  holds(run, modules.refresh());
  auto contention = ContentionProfiler::create_without_hooks({}, clock, modules, unwinder);
  holds(run, contention);
  auto channel = SignalChannel::install({});
  if (!holds(run, channel)) return run;
  auto collector = StackCollector::create({}, clock, modules, unwinder, **channel);
  if (!holds(run, collector)) return run;
  for (const ThreadStack& thread : (*collector)->capture_all(clock.now() + 5s)) {
    const bool said = thread.step != CaptureStep::kNone || thread.failure != CaptureFailure::kNone;
    run.listed |= thread.tid == spinning && said;
  }
  CpuProfiler cpu(clock, modules, unwinder, **channel);
  holds(run, cpu.profile({.hz = 1000, .deadline = clock.now() + 15ms}, {}));
  WallProfiler wall(clock, **collector);
  const auto watched = wall.profile({.hz = 200, .deadline = clock.now() + 15ms}, {});
  if (holds(run, watched)) run.watched = !watched->samples.empty();
  return run;
}

struct Fault {
  Call call;
  int error;
  const char* name;
};

constexpr Fault kFaults[] = {
    {Call::kOpen, EMFILE, "open: EMFILE"},   {Call::kOpen, EACCES, "open: EACCES"},
    {Call::kRead, ESRCH, "read: ESRCH"},     {Call::kRead, EINTR, "read: EINTR"},
    {Call::kShortRead, 0, "read: one byte"}, {Call::kOpendir, EMFILE, "opendir: EMFILE"},
    {Call::kMmap, ENOMEM, "mmap: ENOMEM"},   {Call::kTimerCreate, EAGAIN, "timer_create: EAGAIN"},
};

TEST_CASE("P9.3: the sampler when the n-th open, read, opendir, mmap or timer_create fails") {
  std::atomic<bool> stop{false};
  TestThread spinning([&] { test_spin(stop); });
  (void)run_everything(spinning.tid());  // what is allocated once is there
  const std::size_t descriptors = open_descriptors();
  // The first calls one by one; later ones are the same rounds again.
  constexpr int kCallsMax = 60;
  for (const Fault& fault : kFaults) {
    int injected = 0;
    for (int n = 1; n <= kCallsMax; ++n) {
      INFO(fault.name << ", call " << n);
      calls = 0;
      fail_at = n;
      failing_error = fault.error;
      failing = fault.call;
      const Run run = run_everything(spinning.tid());
      failing = Call::kNone;
      if (calls < n) break;
      ++injected;
      for (const std::string& error : run.errors) CHECK(error.size() > 10);
      CHECK(open_descriptors() == descriptors);
    }
    INFO(fault.name);
    CHECK(injected > 0);
    const Run after = run_everything(spinning.tid());
    CHECK(after.errors == std::vector<std::string>{});
    CHECK(after.listed);
    CHECK(after.watched);
  }
  stop = true;
}

}  // namespace
}  // namespace vigil::sampler
