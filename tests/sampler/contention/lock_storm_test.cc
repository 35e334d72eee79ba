// Locks inside the loader's, the allocator's and fork's critical sections, with every wait captured:
// nothing may hang.

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <shared_mutex>

#include "tests/sampler/contention/hooked.h"
#include "tests/support/catch.h"

namespace vigil::sampler::test {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a storm of locks, dlopen, malloc, threads and fork under it ends") {
  Hooked hooked(1ns);
  std::mutex mutex;
  std::shared_mutex shared;
  std::atomic<bool> stop{false};
  std::atomic<int> opened{0};
  std::atomic<int> created{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        { const std::lock_guard lock(mutex); }
        { const std::shared_lock lock(shared); }
        { const std::lock_guard lock(shared); }
        std::string text(1'000, 'x');
        asm volatile("" : : "r"(text.data()) : "memory");
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop) {
      if (void* library = dlopen("libanl.so.1", RTLD_NOW | RTLD_LOCAL)) {
        ++opened;
        dlclose(library);
      }
    }
  });
  threads.emplace_back([&] {
    while (!stop) {
      std::thread([&] { const std::lock_guard lock(mutex); }).join();
      ++created;
    }
  });
  for (int i = 0; i < 50; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      // Another thread may have held `mutex`: only what is the child's own.
      std::mutex own;
      const std::lock_guard lock(own);
      _exit(0);
    }
    REQUIRE(child > 0);
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    (void)hooked.samples(WaitView::kBlock);
    (void)hooked.profiler->thread_creators();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(opened > 0);
  CHECK(created > 0);
  CHECK(hooked.profiler->counters().waiting == 0);
  CHECK(hooked.profiler->counters().samples > 0);
}

}  // namespace
}  // namespace vigil::sampler::test
