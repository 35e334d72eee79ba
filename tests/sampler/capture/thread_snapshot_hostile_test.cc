// Captures of programs in a state that a diagnostic tool must live with.
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "sampler/proc_thread.h"
#include "sampler/thread_snapshot.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

TEST_CASE_METHOD(Sampling, "sleepers never notice two hundred dumps") {
  constexpr int kSleepers = 20;
  constexpr int kDumps = 200;
  std::vector<int> results(kSleepers, -1);
  std::vector<std::unique_ptr<TestThread>> sleepers;
  for (int& result : results) {
    sleepers.push_back(std::make_unique<TestThread>([&result] {
      const timespec long_enough{4, 0};
      result = nanosleep(&long_enough, nullptr) == 0 ? 0 : errno;
    }));
  }
  for (const auto& sleeper : sleepers) REQUIRE(sleeper->await_blocked(SYS_clock_nanosleep));
  std::size_t asleep = 0;
  std::size_t whole = 0;
  int dumps = 0;
  for (; dumps < kDumps; ++dumps) {
    for (const ThreadStack& thread : collector->capture_all(clock.now() + 5s)) {
      asleep += wait_reason(thread) == "sleep";
      whole += wait_reason(thread) == "sleep" && thread.stack.end == StackEnd::kComplete;
    }
  }
  for (const auto& sleeper : sleepers) sleeper->join();
  CHECK(std::count(results.begin(), results.end(), 0) == kSleepers);
  CHECK(asleep > kDumps * kSleepers / 4);
  CHECK(whole == asleep);
}

TEST_CASE_METHOD(Sampling, "P6.4: a spinning thread that blocks all signals is listed") {
  std::atomic<bool> stop{false};
  std::atomic<bool> masked{false};
  TestThread thread([&] {
    block_signals(masked);
    test_spin(stop);
  });
  masked.wait(false);
  const auto begin = clock.now();
  const ThreadStack captured = capture_one(thread.tid(), 30s);
  const auto took = clock.now() - begin;
  stop = true;
  CHECK(captured.failure == CaptureFailure::kSignalBlocked);
  CHECK(captured.step == CaptureStep::kNone);
  CHECK(captured.state == 'R');
  CHECK(captured.stack.frames.empty());
  CHECK(took < 10s);  // known at once, not after the deadline
}

TEST_CASE_METHOD(Sampling, "a thread that is gone is listed as gone, the others are not harmed") {
  auto ended = std::make_unique<TestThread>([] {});
  const pid_t gone = ended->tid();
  ended.reset();
  while (read_thread_stat(gone)) std::this_thread::yield();
  std::atomic<bool> stop{false};
  TestThread running([&] { test_spin(stop); });
  const pid_t tids[] = {gone, running.tid(), gone};
  const auto captured = collector->capture(tids, clock.now() + 5s);
  stop = true;
  REQUIRE(captured.size() == 3);
  CHECK(captured[0].tid == gone);
  CHECK(captured[0].failure == CaptureFailure::kGone);
  CHECK(captured[1].step == CaptureStep::kSignal);
  CHECK(captured[2].failure == CaptureFailure::kGone);
}

TEST_CASE_METHOD(Sampling, "threads that come and go while all are captured") {
  std::atomic<bool> stop{false};
  TestThread churn([&] {
    while (!stop) std::thread([] {}).join();
  });
  std::size_t seen = 0;
  for (int dump = 0; dump < 100; ++dump) {
    for (const ThreadStack& thread : collector->capture_all(clock.now() + 5s)) {
      seen += thread.tid == churn.tid() || thread.step == CaptureStep::kOwn;
      CHECK((thread.step != CaptureStep::kNone || thread.failure != CaptureFailure::kNone));
    }
  }
  stop = true;
  CHECK(seen == 200);
}

TEST_CASE_METHOD(Sampling, "P6.2: errno of a captured thread is kept") {
  std::atomic<bool> stop{false};
  std::atomic<int> kept{0};
  TestThread thread([&] {
    errno = EDOM;
    test_spin(stop);
    kept = errno;
  });
  int answered = 0;
  for (int i = 0; i < 100; ++i) answered += capture_one(thread.tid()).step == CaptureStep::kSignal;
  stop = true;
  thread.join();
  CHECK(answered == 100);
  CHECK(kept == EDOM);
}

TEST_CASE_METHOD(Sampling, "a dump completes while another thread holds the loader's lock") {
  std::mutex mutex;
  std::condition_variable changed;
  bool inside = false;
  bool leave = false;
  struct Gate {
    std::mutex& mutex;
    std::condition_variable& changed;
    bool& inside;
    bool& leave;
  } gate{mutex, changed, inside, leave};
  TestThread holder([&] {
    dl_iterate_phdr(
        [](dl_phdr_info*, std::size_t, void* data) {
          auto& g = *static_cast<Gate*>(data);
          std::unique_lock lock(g.mutex);
          g.inside = true;
          g.changed.notify_all();
          g.changed.wait(lock, [&] { return g.leave; });
          return 1;
        },
        &gate);
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return inside; });
  }
  REQUIRE(holder.await_blocked(SYS_futex));
  std::atomic<bool> stop{false};
  TestThread running([&] { test_spin(stop); });
  // A fresh collector: nothing is cached from before.
  Modules fresh_modules;
  Unwinder fresh_unwinder(fresh_modules);
  auto fresh = StackCollector::create({}, clock, fresh_modules, fresh_unwinder, *channel);
  REQUIRE(fresh);
  const auto begin = clock.now();
  const pid_t tids[] = {holder.tid(), running.tid()};
  const auto captured = (*fresh)->capture(tids, clock.now() + 20s);
  const auto took = clock.now() - begin;
  stop = true;
  {
    const std::lock_guard lock(mutex);
    leave = true;
  }
  changed.notify_all();
  CHECK(took < 10s);
  CHECK(captured[0].stack.end == StackEnd::kComplete);
  CHECK(has_test_functions(captured[0].stack));
  CHECK(captured[1].step == CaptureStep::kSignal);
  CHECK(has_test_functions(captured[1].stack));
}

// Spins with a stack pointer and a frame pointer that lead nowhere; puts the old ones back when
// `stop` is set.
[[gnu::noinline]] void spin_without_stack(const std::atomic<bool>& stop) {
  asm volatile(
      "mov %%rsp, %%r12\n"
      "mov %%rbp, %%r13\n"
      "mov $0x1000, %%rsp\n"
      "mov $0x1000, %%rbp\n"
      "1: cmpb $0, (%0)\n"
      "je 1b\n"
      "mov %%r13, %%rbp\n"
      "mov %%r12, %%rsp\n"
      :
      : "a"(&stop)
      : "r12", "r13", "memory", "cc");
}

TEST_CASE_METHOD(Sampling,
                 "P6.8: a thread whose stack pointer is garbage is captured without its stack") {
  std::atomic<bool> stop{false};
  std::atomic<bool> ready{false};
  TestThread thread([&] {
    // The signal needs a stack: without an alternate one the kernel would kill the process.
    constexpr std::size_t kBytes = 64 * 1024;
    void* memory =
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t alternate{memory, 0, kBytes};
    stack_t before{};
    sigaltstack(&alternate, &before);
    ready = true;
    ready.notify_all();
    spin_without_stack(stop);
    sigaltstack(&before, nullptr);
    munmap(memory, kBytes);
  });
  ready.wait(false);
  ThreadStack captured;
  const auto until = clock.now() + 10s;
  // It may still be on the way to its loop.
  while (captured.sp != 0x1000 && clock.now() < until) captured = capture_one(thread.tid());
  stop = true;
  CHECK(captured.sp == 0x1000);
  CHECK(captured.step == CaptureStep::kSignal);
  CHECK(captured.failure == CaptureFailure::kUnreadable);
  CHECK(captured.stack.frames.size() == 1);
  CHECK(captured.stack.end != StackEnd::kComplete);
}

TEST_CASE_METHOD(Sampling, "P6.4: several collectors at once take turns") {
  std::atomic<bool> stop{false};
  TestThread running([&] { test_spin(stop); });
  // On a busy machine it may not have come to its function yet.
  const auto until = clock.now() + 10s;
  while (!has_test_functions(capture_one(running.tid()).stack) && clock.now() < until) {
  }
  std::atomic<int> whole{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        whole += has_test_functions(capture_one(running.tid()).stack) ? 1 : 0;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  stop = true;
  CHECK(whole == 80);
}

}  // namespace
}  // namespace vigil::sampler
