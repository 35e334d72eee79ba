// P9.3: the sampler when what it calls fails or does less than it might: the first call, the second, … until a run makes
// fewer. Tables, a dump, CPU and wall profiles with their encoding, the heap's and the locks' collectors with their threads;
// and, by itself, what looks up symbols.
#include "tests/support/faults.h"

#include <dlfcn.h>

#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "sampler/contention_profiler.h"
#include "sampler/cpu_profiler.h"
#include "sampler/heap_profiler.h"
#include "sampler/pprof_encoder.h"
#include "sampler/symbolizer.h"
#include "sampler/wall_profiler.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;
using test::Call;
using test::Fault;
using test::FaultAt;
using test::Unharmed;

std::size_t entries(const char* folder) {
  namespace fs = std::filesystem;
  const auto all = fs::directory_iterator(folder);
  return static_cast<std::size_t>(std::distance(fs::begin(all), fs::end(all)));
}
std::size_t open_descriptors() { return entries("/proc/self/fd"); }
// Threads that live; one that was joined may still be on its way out, for a moment.
std::size_t settled_threads() {
  const auto until = std::chrono::steady_clock::now() + 5s;
  while (entries("/proc/self/task") > 2 && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(1ms);
  }
  return entries("/proc/self/task");
}

// What one run with everything gave: the errors, in order, and what was seen of the spinning thread.
struct Run {
  std::vector<std::string> errors;
  bool listed = false;
  bool watched = false;
  bool has_heap = false;
  std::size_t encoded = 0;

  void note(const std::string& error) {
    const Unharmed us;
    errors.push_back(error);
  }
  // Whether `result` is there; what this program does not have is no error.
  template <typename T>
  bool holds(const Result<T>& result) {
    if (!result && result.error().code() != ErrorCode::kUnsupported) note(result.error().message());
    return result.ok();
  }
};

// A lock that somebody waits for.
void contend() {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::thread waiting([&] {
    const Unharmed us;
    const std::lock_guard waits(mutex);
  });
  std::this_thread::sleep_for(2ms);
  lock.unlock();
  waiting.join();
}

class Sampled {
 public:
  // Made without faults.
  explicit Sampled(pid_t spinning) : spinning_(spinning) {}

  // Where memory runs out on the caller's thread, the caller is told so by the usual exception.
  Run everything() {
    try {
      with_collectors();
    } catch (const std::bad_alloc&) {
      run_.note("out of memory: std::bad_alloc");
    }
    return std::move(run_);
  }

 private:
  void with_collectors() {
    run_.holds(modules_.refresh());
    auto contention = ContentionProfiler::create({.rate = 1us}, clock_, modules_, unwinder_);
    run_.holds(contention);
    auto heap = HeapProfiler::create(modules_, unwinder_);
    if (run_.holds(heap)) run_.holds((*heap)->enable({.interval_bytes = 64 * 1024}));
    {
      const Unharmed us;
      contend();
      for (int i = 0; i < 64; ++i) held_.push_back(std::make_unique<char[]>(64 * 1024));
    }
    with_signals();
    if (heap && run_.holds((*heap)->snapshot(clock_.wall_now()))) run_.has_heap = true;
    if (contention) {
      run_.holds((*contention)->waits(WaitView::kBlock));
      run_.holds((*contention)->thread_creators());
    }
  }

  void with_signals() {
    auto channel = SignalChannel::install({});
    if (!run_.holds(channel)) return;
    auto collector = StackCollector::create({}, clock_, modules_, unwinder_, **channel);
    if (!run_.holds(collector)) return;
    for (const ThreadStack& thread : (*collector)->capture_all(clock_.now() + 5s)) {
      const bool said =
          thread.step != CaptureStep::kNone || thread.failure != CaptureFailure::kNone;
      run_.listed |= thread.tid == spinning_ && said;
    }
    CpuProfiler cpu(clock_, modules_, unwinder_, **channel);
    const auto profile = cpu.profile({.hz = 1000, .deadline = clock_.now() + 15ms}, {});
    if (run_.holds(profile)) {
      run_.encoded = encode_pprof(build_profile(*profile, *modules_.current(), nullptr)).size();
    }
    WallProfiler wall(clock_, **collector);
    const auto watched = wall.profile({.hz = 200, .deadline = clock_.now() + 15ms}, {});
    if (run_.holds(watched)) run_.watched = !watched->samples.empty();
  }

  const pid_t spinning_;
  Run run_;
  SystemClock clock_;
  Modules modules_;
  Unwinder unwinder_{modules_};
  std::vector<std::unique_ptr<char[]>> held_;
};

constexpr Fault kCallFaults[] = {
    {"open: EMFILE", Call::kOpen, EMFILE},
    {"open: EACCES", Call::kOpen, EACCES},
    {"read: ESRCH", Call::kRead, ESRCH},
    {"read: EINTR", Call::kRead, EINTR},
    {"read: one byte", Call::kRead, 0},
    {"opendir: EMFILE", Call::kOpendir, EMFILE},
    {"mmap: ENOMEM", Call::kMmap, ENOMEM},
    {"timer_create: EAGAIN", Call::kTimerCreate, EAGAIN},
    {"pthread_create: EAGAIN", Call::kPthreadCreate, EAGAIN},
};

// `attempt` with the first, the second, … call as `fault` says: what it returned each time, and what it had opened or
// started is gone.
template <typename Attempt, typename Judge>
void try_each_call(const Fault& fault, const Attempt& attempt, const Judge& judge) {
  for (int i = 0; i < 2; ++i) (void)attempt();  // what is made once is there
  const std::size_t descriptors = open_descriptors();
  std::uint64_t n = 0;
  std::uint64_t calls = 0;
  do {
    n = test::next_fault(n);
    const auto result = [&] {
      const FaultAt injected(fault, n);
      auto got = attempt();
      calls = injected.calls();
      return got;
    }();
    INFO(fault.name << ", call " << n << " of " << calls);
    judge(result);
    CHECK(open_descriptors() == descriptors);
    CHECK(settled_threads() == 2);  // ours, and the one that spins
  } while (calls >= n);
  INFO(fault.name);
  CHECK(n > 1);
}

void sample_through(std::span<const Fault> faults) {
  std::atomic<bool> stop{false};
  TestThread spinning([&] { test_spin(stop); });
  const auto attempt = [&] {
    const std::unique_ptr<Sampled> sampled = [&] {
      const Unharmed us;
      return std::make_unique<Sampled>(spinning.tid());
    }();
    return sampled->everything();
  };
  for (const Fault& fault : faults) {
    try_each_call(fault, attempt, [](const Run& run) {
      for (const std::string& error : run.errors) CHECK(error.size() > 10);
    });
    INFO(fault.name);
    const Run after = attempt();
    CHECK(after.errors == std::vector<std::string>{});
    CHECK(after.listed);
    CHECK(after.watched);
    CHECK(after.encoded > 0);
  }
  stop = true;
}

// What a new symbolizer calls a function of the small library that the faults are in; an error in brackets.
std::string name_of_known_function() {
  try {
    Modules modules;
    if (const auto read = modules.refresh(); !read) return "[" + read.error().message() + "]";
    auto symbolizer = Symbolizer::create({});
    if (!symbolizer) return "[" + symbolizer.error().message() + "]";
    const auto entry = reinterpret_cast<std::uintptr_t>(::dlsym(RTLD_DEFAULT, "epoll_create1"));
    const SymbolizedAddress found =
        (*symbolizer)->symbolize(FrameAddress::instruction(entry), *modules.current());
    return found.known() ? found.frames().back().function->name : "";
  } catch (const std::bad_alloc&) {
    const Unharmed us;
    return "[std::bad_alloc]";
  }
}

void name_through(std::span<const Fault> faults) {
  std::atomic<bool> stop{false};
  TestThread spinning([&] { test_spin(stop); });
  for (const Fault& fault : faults) {
    try_each_call(fault, name_of_known_function, [](const std::string& name) {
      CHECK((name.empty() || name.starts_with("[") || name == "epoll_create1"));
    });
    INFO(fault.name);
    CHECK(name_of_known_function() == "epoll_create1");
  }
  stop = true;
}

TEST_CASE("P9.3: the sampler when the n-th open, read, mmap, timer_create, … fails") {
  sample_through(kCallFaults);
}

TEST_CASE("P9.3: symbols when the n-th open or read fails: none, or the right one") {
  const Fault faults[] = {{"open: EMFILE", Call::kOpen, EMFILE},
                          {"read: EINTR", Call::kRead, EINTR},
                          {"read: one byte", Call::kRead, 0}};
  name_through(faults);
}

// A sanitizer's allocator is before ours.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Twice: where vigil::malloc_interpose has got nothing for operator new, it asks the C++ runtime's, which asks again.
constexpr Fault kMemoryFaults[] = {{"malloc: ENOMEM", Call::kMalloc, ENOMEM, 0, 2}};

TEST_CASE("P9.3: the sampler when the n-th allocation fails") { sample_through(kMemoryFaults); }
#endif

}  // namespace
}  // namespace vigil::sampler
