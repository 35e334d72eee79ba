// P6.4: a dump of a thousand threads, with those among them that cannot answer.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "sampler/proc_thread.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"
#include "tests/support/sanitizer.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kSleepers = 997;
constexpr Duration kDumpWithin = 2s;

// A page that nobody can touch until release(): whoever does is stopped in the page fault.
class StoppingPage {
 public:
  StoppingPage()
      : faults_(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY))) {
    page_ = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register range{.range = {reinterpret_cast<std::uintptr_t>(page_), kBytes},
                          .mode = UFFDIO_REGISTER_MODE_MISSING,
                          .ioctls = 0};
    stops_ = faults_ && page_ != MAP_FAILED && ::ioctl(faults_.get(), UFFDIO_API, &api) == 0 &&
             ::ioctl(faults_.get(), UFFDIO_REGISTER, &range) == 0;
  }
  ~StoppingPage() { ::munmap(page_, kBytes); }

  // false: this system has no such pages for us.
  bool stops() const { return stops_; }
  void touch() const { *static_cast<volatile char*>(page_) = 1; }
  void release() { faults_.reset(); }

 private:
  static constexpr std::size_t kBytes = 4096;
  UniqueFd faults_;
  void* page_ = nullptr;
  bool stops_ = false;
};

// Stays in vfork(2) until a byte comes.
void stay_in_vfork(int wake) {
  const pid_t child = ::vfork();
  if (child == 0) {
    char byte;
    ::_exit(::read(wake, &byte, 1) == 1 ? 0 : 1);
  }
  ::waitpid(child, nullptr, 0);
}

bool comes_to(const TestThread& thread, char state) {
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (std::chrono::steady_clock::now() < until) {
    const auto stat = read_thread_stat(thread.tid());
    if (stat && stat->state == state) return true;
    std::this_thread::yield();
  }
  return false;
}

bool is_said(const ThreadStack& thread) {
  return thread.step != CaptureStep::kNone || thread.failure != CaptureFailure::kNone;
}

TEST_CASE_METHOD(Sampling,
                 "P6.4: a thousand threads, one masked, one in vfork, one in a page fault: all are "
                 "listed in 2 s") {
  std::atomic<bool> stop{false};
  std::atomic<bool> blocked{false};
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const UniqueFd wake(ends[0]);
  const UniqueFd waking(ends[1]);
  StoppingPage page;
  if (!page.stops()) WARN("no userfaultfd here: nobody is stopped in a page fault");

  TestThread masked([&] {
    block_signals(blocked);
    test_spin(stop);
  });
  TestThread vforking([&] { stay_in_vfork(wake.get()); });
  TestThread faulting([&] {
    if (page.stops()) page.touch();
    stop.wait(false);
  });
  std::vector<std::unique_ptr<TestThread>> sleepers;
  for (std::size_t i = 0; i < kSleepers; ++i) {
    sleepers.push_back(std::make_unique<TestThread>([&] { stop.wait(false); }));
  }
  blocked.wait(false);
  CHECK(comes_to(vforking, 'D'));
  CHECK(comes_to(faulting, 'S'));
  CHECK(sleepers.back()->await_blocked(SYS_futex));

  for (int round = 0; round < 3; ++round) {
    const MonotonicTime begin = clock.now();
    const std::vector<ThreadStack> dump = collector->capture_all(begin + kDumpWithin);
    const Duration took = clock.now() - begin;
    std::map<pid_t, const ThreadStack*> by_tid;
    for (const ThreadStack& thread : dump) by_tid[thread.tid] = &thread;

    CHECK(took < kDumpWithin);
    std::size_t whole = 0;
    for (const auto& sleeper : sleepers) {
      whole += by_tid.contains(sleeper->tid()) && has_test_functions(by_tid[sleeper->tid()]->stack);
    }
    CHECK(whole == kSleepers);
    for (const TestThread* special : {&masked, &vforking, &faulting}) {
      REQUIRE(by_tid.contains(special->tid()));
      CHECK(is_said(*by_tid[special->tid()]));
    }
    CHECK(by_tid[masked.tid()]->failure == CaptureFailure::kSignalBlocked);
    // In its call, like any other that sleeps in one. The address sanitizer has a vfork of its own in front of the C
    // library's, and keeps the return address elsewhere.
    if (!test::kUnderSanitizer) CHECK(has_test_functions(by_tid[vforking.tid()]->stack));
    if (page.stops()) CHECK(has_test_functions(by_tid[faulting.tid()]->stack));
  }
  page.release();
  CHECK(::write(waking.get(), "x", 1) == 1);
  stop = true;
  stop.notify_all();
}

}  // namespace
}  // namespace vigil::sampler
