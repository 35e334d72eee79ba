#include "sampler/thread_snapshot.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/fd.h"
#include "sampler/resting_threads.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  UniqueFd reader;
  UniqueFd writer;
};

// Blocks until something is written.
void read_one(int fd) {
  char byte = 0;
  while (read(fd, &byte, 1) != 1) {
  }
}

// What every blocked thread's capture must be: complete, from outside, with the frames in order.
void check_blocked(const ThreadStack& thread, std::string_view reason) {
  INFO("failure: " << failure_sentence(thread.failure));
  INFO("frames: " << Catch::StringMaker<std::vector<std::string>>::convert(
           frame_names(thread.stack)));
  CHECK(thread.failure == CaptureFailure::kNone);
  CHECK(thread.stack.end == StackEnd::kComplete);
  CHECK(has_test_functions(thread.stack));
  CHECK(wait_reason(thread) == reason);
  CHECK(thread.state == 'S');
  CHECK(thread.pc != 0);
  CHECK(thread.sp != 0);
  CHECK(thread.bytes_copied > 0);
}

void check_signal_free(const ThreadStack& thread, std::string_view reason) {
  check_blocked(thread, reason);
  CHECK(thread.step == CaptureStep::kSignalFree);
  CHECK(thread.held == Duration::zero());
}

TEST_CASE_METHOD(Sampling, "a thread that has not run since its capture is taken over from it") {
  Pipe first;
  Pipe second;
  TestThread thread([&] {
    read_one(first.reader.get());
    test_middle([&] { read_one(second.reader.get()); });
  });
  REQUIRE(thread.await_blocked(SYS_read));
  const ThreadStack before = capture_one(thread.tid());
  check_signal_free(before, "IO wait");
  REQUIRE(collector->resting() == 0);

  // Renamed meanwhile, by another thread.
  const std::string comm = "/proc/self/task/" + std::to_string(thread.tid()) + "/comm";
  {
    const UniqueFd file(open(comm.c_str(), O_WRONLY | O_CLOEXEC));
    REQUIRE(write(file.get(), "renamed", 7) == 7);
  }
  const ThreadStack again = capture_one(thread.tid());
  check_signal_free(again, "IO wait");
  CHECK(collector->resting() == 1);
  CHECK(again.stack == before.stack);
  CHECK(again.call == before.call);
  CHECK(again.times == before.times);
  CHECK(again.name == "renamed");

  // It runs, and waits in the same call elsewhere.
  REQUIRE(write(first.writer.get(), "x", 1) == 1);
  const auto reads_second = [&] {
    const auto call = read_thread_syscall(thread.tid());
    return call && call->number == SYS_read &&
           call->args[0] == static_cast<std::uint64_t>(second.reader.get());
  };
  while (!reads_second()) std::this_thread::yield();
  const ThreadStack moved = capture_one(thread.tid());
  CHECK(moved.step == CaptureStep::kSignalFree);
  CHECK(moved.stack.end == StackEnd::kComplete);
  CHECK(collector->resting() == 1);
  CHECK(moved.stack.frames.size() > before.stack.frames.size());
  CHECK(moved.call.args[0] == static_cast<std::uint64_t>(second.reader.get()));
  REQUIRE(write(second.writer.get(), "x", 1) == 1);
  thread.join();
  CHECK(capture_one(thread.tid()).failure == CaptureFailure::kGone);
}

TEST_CASE("resting threads: only the same moment of a thread is found, and few are kept") {
  RestingThreads resting;
  const ModuleTable* const modules = reinterpret_cast<const ModuleTable*>(0x10);
  const RestingThreads::Moment moment{5, {Duration(1000), Duration(20)}};
  ThreadStack thread;
  thread.tid = 7;
  thread.step = CaptureStep::kSignalFree;
  thread.sp = 42;
  resting.begin_capture(modules);
  resting.keep(thread, moment);
  REQUIRE(resting.find(7, moment) != nullptr);
  CHECK(resting.find(7, moment)->sp == 42);
  CHECK(resting.find(8, moment) == nullptr);
  for (const RestingThreads::Moment& other :
       {RestingThreads::Moment{6, moment.times},
        RestingThreads::Moment{5, {Duration(1001), Duration(20)}},
        RestingThreads::Moment{5, {Duration(1000), Duration(21)}}}) {
    CHECK(resting.find(7, other) == nullptr);
  }
  SECTION("what is not whole, or was taken by signal, is not kept") {
    thread.tid = 8;
    thread.failure = CaptureFailure::kNotInterrupted;
    resting.keep(thread, moment);
    thread.failure = CaptureFailure::kNone;
    thread.step = CaptureStep::kSignal;
    resting.keep(thread, moment);
    CHECK(resting.size() == 1);
  }
  SECTION("code that came or went: all is walked anew") {
    resting.begin_capture(modules + 1);
    CHECK(resting.size() == 0);
  }
  SECTION("those that were not asked for go when there are many") {
    for (pid_t tid = 100; tid < 100 + static_cast<pid_t>(RestingThreads::kSpare); ++tid) {
      thread.tid = tid;
      resting.keep(thread, moment);
    }
    resting.begin_capture(modules);
    REQUIRE(resting.find(100, moment) != nullptr);
    resting.end_capture(1);  // one before the limit
    CHECK(resting.size() == RestingThreads::kSpare + 1);
    resting.end_capture(0);
    CHECK(resting.size() == 1);
    CHECK(resting.find(100, moment) != nullptr);
  }
}

TEST_CASE_METHOD(Sampling, "a thread blocked on a condition variable") {
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;
  TestThread thread([&] {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return stop; });
  });
  REQUIRE(thread.await_blocked(SYS_futex));
  check_blocked(capture_one(thread.tid()), "futex wait");
  {
    const std::lock_guard lock(mutex);
    stop = true;
  }
  wake.notify_all();
}

TEST_CASE_METHOD(Sampling, "a thread in nanosleep") {
  int result = -1;
  TestThread thread([&] {
    const timespec second{1, 0};
    result = nanosleep(&second, nullptr);
  });
  REQUIRE(thread.await_blocked(SYS_clock_nanosleep));
  check_signal_free(capture_one(thread.tid()), "sleep");
  thread.join();
  CHECK(result == 0);
}

TEST_CASE_METHOD(Sampling, "a thread in poll") {
  Pipe end;
  int result = -1;
  TestThread thread([&] {
    pollfd wait{end.reader.get(), POLLIN, 0};
    result = poll(&wait, 1, -1);
  });
  REQUIRE(thread.await_blocked(SYS_poll));
  check_signal_free(capture_one(thread.tid()), "poll");
  REQUIRE(write(end.writer.get(), "x", 1) == 1);
  thread.join();
  CHECK(result == 1);
}

TEST_CASE_METHOD(Sampling, "a thread in epoll_wait") {
  Pipe end;
  int result = -1;
  const UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{EPOLLIN, {}};
  REQUIRE(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, end.reader.get(), &event) == 0);
  TestThread thread([&] {
    epoll_event ready{};
    result = epoll_wait(epoll.get(), &ready, 1, -1);
  });
  REQUIRE(thread.await_blocked(SYS_epoll_wait));
  check_signal_free(capture_one(thread.tid()), "epoll wait");
  REQUIRE(write(end.writer.get(), "x", 1) == 1);
  thread.join();
  CHECK(result == 1);
}

TEST_CASE_METHOD(Sampling, "a thread in read") {
  Pipe end;
  ssize_t result = -1;
  TestThread thread([&] {
    char byte = 0;
    result = read(end.reader.get(), &byte, 1);
  });
  REQUIRE(thread.await_blocked(SYS_read));
  check_blocked(capture_one(thread.tid()), "IO wait");
  REQUIRE(write(end.writer.get(), "x", 1) == 1);
  thread.join();
  CHECK(result == 1);
}

TEST_CASE_METHOD(Sampling, "a running thread answers by signal") {
  std::atomic<bool> stop{false};
  TestThread thread([&] { test_spin(stop); });
  const ThreadStack captured = capture_one(thread.tid());
  stop = true;
  INFO("frames: " << Catch::StringMaker<std::vector<std::string>>::convert(
           frame_names(captured.stack)));
  CHECK(captured.failure == CaptureFailure::kNone);
  CHECK(captured.step == CaptureStep::kSignal);
  CHECK(captured.stack.end == StackEnd::kComplete);
  CHECK(has_test_functions(captured.stack));
  CHECK(wait_reason(captured) == "running");
  CHECK(captured.held > Duration::zero());
}

// The pipe that the handler below blocks on.
std::atomic<int> g_handler_reads_from{-1};
void blocking_handler(int) { read_one(g_handler_reads_from); }

TEST_CASE_METHOD(Sampling, "frames below a signal handler are interrupted instructions") {
  Pipe end;
  g_handler_reads_from = end.reader.get();
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = &blocking_handler;
  REQUIRE(sigaction(SIGUSR1, &action, &before) == 0);
  std::atomic<bool> stop{false};
  TestThread thread([&] {
    raise(SIGUSR1);
    test_spin(stop);
  });
  REQUIRE(thread.await_blocked(SYS_read));
  const ThreadStack captured = capture_one(thread.tid());
  stop = true;
  REQUIRE(write(end.writer.get(), "x", 1) == 1);
  thread.join();
  sigaction(SIGUSR1, &before, nullptr);
  CHECK(captured.stack.end == StackEnd::kComplete);
  CHECK(has_test_functions(captured.stack));
  const auto& frames = captured.stack.frames;
  // The innermost, the trampoline, and what the signal interrupted.
  CHECK(std::count_if(frames.begin(), frames.end(), [](const FrameAddress& frame) {
          return frame == FrameAddress::instruction(frame.raw());
        }) == 3);
}

[[gnu::noinline]] void deep(int depth, const std::function<void()>& body) {
  volatile char padding[1024];
  padding[0] = 1;
  if (depth == 0) {
    body();
  } else {
    deep(depth - 1, body);
  }
  padding[1] = padding[0];
}

TEST_CASE_METHOD(Sampling, "a deep blocked stack is copied as far as needed") {
  Pipe end;
  TestThread thread([&] { deep(100, [&] { read_one(end.reader.get()); }); });
  REQUIRE(thread.await_blocked(SYS_read));
  const ThreadStack captured = capture_one(thread.tid());
  CHECK(captured.stack.end == StackEnd::kComplete);
  CHECK(captured.stack.frames.size() > 100);
  CHECK(has_test_functions(captured.stack));
  REQUIRE(write(end.writer.get(), "x", 1) == 1);
}

TEST_CASE_METHOD(Sampling, "a stack larger than the largest copy is truncated, and says so") {
  CollectorOptions options;
  options.stack_bytes_max = 32 * 1024;
  auto small = StackCollector::create(options, clock, modules, unwinder, *channel);
  REQUIRE(small);
  Pipe end;
  TestThread thread([&] {
    deep(100, [&] {
      pollfd wait{end.reader.get(), POLLIN, 0};
      poll(&wait, 1, -1);
    });
  });
  REQUIRE(thread.await_blocked(SYS_poll));
  const pid_t tid = thread.tid();
  const ThreadStack captured = (*small)->capture({&tid, 1}, clock.now() + 5s).at(0);
  CHECK(captured.stack.end == StackEnd::kTruncated);
  CHECK(captured.stack.frames.size() > 20);
  CHECK(captured.bytes_copied == options.stack_bytes_max);
  REQUIRE(write(end.writer.get(), "x", 1) == 1);
}

TEST_CASE_METHOD(Sampling, "all threads, the caller included, in order") {
  Pipe end;
  TestThread blocked([&] { read_one(end.reader.get()); });
  REQUIRE(blocked.await_blocked(SYS_read));
  std::vector<ThreadStack> threads;
  test_outer([&] { threads = collector->capture_all(clock.now() + 5s); });
  CHECK(std::is_sorted(threads.begin(), threads.end(),
                       [](const ThreadStack& a, const ThreadStack& b) { return a.tid < b.tid; }));
  const auto find = [&](pid_t tid) {
    return std::find_if(threads.begin(), threads.end(),
                        [tid](const ThreadStack& thread) { return thread.tid == tid; });
  };
  REQUIRE(find(blocked.tid()) != threads.end());
  const auto own = find(gettid());
  REQUIRE(own != threads.end());
  CHECK(own->step == CaptureStep::kOwn);
  CHECK(own->stack.end == StackEnd::kComplete);
  CHECK(has_test_functions(own->stack));
  REQUIRE(write(end.writer.get(), "x", 1) == 1);
}

TEST_CASE_METHOD(Sampling, "more running threads than slots") {
  channel.reset();
  auto narrow = SignalChannel::install({.capture_slots = 2});
  REQUIRE(narrow);
  auto two_slots = StackCollector::create({}, clock, modules, unwinder, **narrow);
  REQUIRE(two_slots);
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<TestThread>> threads;
  std::vector<pid_t> tids;
  for (int i = 0; i < 6; ++i) {
    threads.push_back(std::make_unique<TestThread>([&] { test_spin(stop); }));
    tids.push_back(threads.back()->tid());
  }
  const auto captured = (*two_slots)->capture(tids, clock.now() + 20s);
  stop = true;
  REQUIRE(captured.size() == 6);
  for (const ThreadStack& thread : captured) {
    CHECK(thread.step == CaptureStep::kSignal);
    CHECK(has_test_functions(thread.stack));
  }
}

TEST_CASE_METHOD(Sampling, "options out of range are refused") {
  for (const CollectorOptions& options :
       {CollectorOptions{.frames_max = 0}, CollectorOptions{.frames_max = 4097},
        CollectorOptions{.stack_bytes_max = 4095}, CollectorOptions{.attempts_max = 0}}) {
    const auto created = StackCollector::create(options, clock, modules, unwinder, *channel);
    REQUIRE_FALSE(created);
    CHECK(created.error().code() == ErrorCode::kInvalidArgument);
  }
}

TEST_CASE("every failure has its sentence") {
  CHECK(failure_sentence(CaptureFailure::kNone).empty());
  for (int i = 1; i <= static_cast<int>(CaptureFailure::kProcHidden); ++i) {
    CHECK_FALSE(failure_sentence(static_cast<CaptureFailure>(i)).empty());
  }
}

}  // namespace
}  // namespace vigil::sampler
