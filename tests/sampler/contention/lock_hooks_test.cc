// The interposed functions in a program of their own: what they count, and that they change nothing.

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "base/thread_id.h"
#include "sampler/contention/ticks.h"
#include "sampler/contention/wait_tables.h"
#include "sampler/own_wait.h"
#include "sampler/proc_thread.h"
#include "tests/sampler/contention/hooked.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;

namespace {

timespec after(clockid_t clock, std::chrono::nanoseconds time) {
  timespec now{};
  clock_gettime(clock, &now);
  const long ns = now.tv_nsec + time.count() % 1'000'000'000;
  return {now.tv_sec + time.count() / 1'000'000'000 + ns / 1'000'000'000, ns % 1'000'000'000};
}

}  // namespace

// Holds the lock until all waiters are there, and 100 ms more.
VIGIL_TEST_FUNCTION void vigil_test_holder(std::mutex& mutex, vigil::sampler::test::Hooked& hooked,
                                           std::atomic<bool>& held, std::atomic<bool>& all_waited) {
  const std::lock_guard lock(mutex);
  held = true;
  all_waited = hooked.wait_for_waiters(8);
  std::this_thread::sleep_for(100ms);
  // The lock guard's destructor is a jump to pthread_mutex_unlock: this function has no frame then.
}
VIGIL_TEST_FUNCTION void vigil_test_waiter(std::mutex& mutex) {
  mutex.lock();
  mutex.unlock();
  asm volatile("");
}
VIGIL_TEST_FUNCTION void vigil_test_reader(std::shared_mutex& mutex) {
  mutex.lock_shared();
  mutex.unlock_shared();
  asm volatile("");
}
VIGIL_TEST_FUNCTION void vigil_test_writer(std::shared_mutex& mutex) {
  mutex.unlock();
  asm volatile("");
}
// Holds the lock for some microseconds; returns how long getting it took.
VIGIL_TEST_FUNCTION std::int64_t vigil_test_short_hold(std::mutex& mutex) {
  const auto begin = std::chrono::steady_clock::now();
  mutex.lock();
  const auto got = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - got < 3us) {
  }
  mutex.unlock();
  asm volatile("");
  return std::chrono::nanoseconds(got - begin).count();
}
VIGIL_TEST_FUNCTION int vigil_test_sleeper(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  const timespec until = after(CLOCK_REALTIME, 20ms);
  const int result = pthread_cond_timedwait(condition, mutex, &until);
  asm volatile("");
  return result;
}
VIGIL_TEST_FUNCTION void vigil_test_condition_holder(pthread_cond_t* condition,
                                                     pthread_mutex_t* mutex) {
  (void)vigil_test_sleeper(condition, mutex);
  asm volatile("");
}

namespace vigil::sampler::test {
namespace {

TEST_CASE("one holder, eight waiters: the delays add up, and the holder is named") {
  Hooked hooked(1ms);
  std::mutex mutex;
  std::atomic<bool> all_waited{false};
  std::atomic<std::int64_t> truth_ns{0};
  std::atomic<bool> held{false};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    vigil_test_holder(mutex, hooked, held, all_waited);
    asm volatile("");  // not a jump: two in a row cannot be followed back
  });
  while (!held) std::this_thread::yield();
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto begin = std::chrono::steady_clock::now();
      vigil_test_waiter(mutex);
      truth_ns += (std::chrono::steady_clock::now() - begin).count();
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(all_waited);
  const auto truth = static_cast<double>(truth_ns);
  CHECK(truth >= 8 * 100e6);

  const Sums waiters = hooked.sums(WaitView::kMutex, "vigil_test_waiter");
  CHECK(waiters.count == 8);
  CHECK(static_cast<double>(waiters.delay_ns) == Approx(truth).epsilon(0.1));
  const Sums holder = hooked.sums(WaitView::kMutexHolder, "vigil_test_holder");
  CHECK(static_cast<double>(holder.delay_ns) == Approx(truth).epsilon(0.1));
  CHECK(hooked.sums(WaitView::kMutexHolder, "pthread_mutex_unlock").delay_ns >= holder.delay_ns);
  // The leaf is the function that was called, then its caller; none of ours between.
  for (const StackSample& sample : hooked.samples(WaitView::kMutex)) {
    const auto names = frame_names(sample.stack);
    if (!has(names, "vigil_test_waiter")) continue;
    CHECK(names[0] == "pthread_mutex_lock");
    CHECK(names[1] == "vigil_test_waiter");
    CHECK(sample.stack.end == StackEnd::kComplete);
  }
  CHECK(hooked.profiler->counters().waiting == 0);
  CHECK(hooked.profiler->counters().samples_lost == 0);
}

TEST_CASE("of many short waits few are looked at, and the sums are those of all") {
  Hooked hooked(1ms);
  const MonotonicTime patience = hooked.clock.now() + 2s;  // where ticks are not trusted
  while (!contention::ticks_are_known() && hooked.clock.now() < patience) {
    std::this_thread::yield();
  }
  std::mutex mutex;
  std::atomic<std::int64_t> truth_ns{0};
  const auto contend = [&] {
    const MonotonicTime until = hooked.clock.now() + 2500ms;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        std::int64_t own_ns = 0;
        while (hooked.clock.now() < until) own_ns += vigil_test_short_hold(mutex);
        truth_ns += own_ns;
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  const auto of_waiters = [&] {
    return static_cast<double>(hooked.sums(WaitView::kMutex, "vigil_test_short_hold").delay_ns) /
           static_cast<double>(truth_ns);
  };
  const auto of_holders = [&] {
    const Sums holders = hooked.sums(WaitView::kMutexHolder, "vigil_test_short_hold");
    const auto handoff = static_cast<double>(hooked.profiler->counters().handoff.count());
    return (static_cast<double>(holders.delay_ns) + handoff) / static_cast<double>(truth_ns);
  };
  // The sums have the error of their samples: beside other tests 2.5 s may have too few.
  constexpr int kTriesMax = 4;
  contend();
  for (int i = 1; i < kTriesMax && !(of_waiters() == Approx(1).epsilon(0.1) &&
                                     of_holders() == Approx(1).epsilon(0.2));
       ++i) {
    contend();
  }
  CHECK(of_waiters() == Approx(1).epsilon(0.1));
  CHECK(of_holders() == Approx(1).epsilon(0.2));
  CHECK(hooked.profiler->counters().samples_lost == 0);
}

TEST_CASE("readers that wait for a writer, with the writer named") {
  Hooked hooked(1ns);
  std::shared_mutex mutex;
  mutex.lock();
  std::thread reader([&] { vigil_test_reader(mutex); });
  REQUIRE(hooked.wait_for_waiters(1));
  std::this_thread::sleep_for(5ms);
  vigil_test_writer(mutex);
  reader.join();
  CHECK(hooked.sums(WaitView::kMutex, "vigil_test_reader").delay_ns >= 5'000'000);
  CHECK(hooked.sums(WaitView::kMutexHolder, "vigil_test_writer").delay_ns >= 5'000'000);
}

TEST_CASE("a condition variable used as a sleep is in block only") {
  Hooked hooked(1ns);
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  pthread_mutex_lock(&mutex);
  CHECK(vigil_test_sleeper(&condition, &mutex) == ETIMEDOUT);
  pthread_mutex_unlock(&mutex);
  const Sums block = hooked.sums(WaitView::kBlock, "vigil_test_sleeper");
  CHECK(block.count == 1);
  CHECK(block.delay_ns >= 19'000'000);
  CHECK(hooked.sums(WaitView::kMutex, "vigil_test_sleeper").count == 0);
  CHECK(hooked.sums(WaitView::kMutexHolder, "vigil_test_sleeper").count == 0);
}

TEST_CASE("what vigil's own threads wait for is in no profile") {
  Hooked hooked(1ns);
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  pthread_mutex_lock(&mutex);
  {
    const OwnWait idle;
    CHECK(vigil_test_sleeper(&condition, &mutex) == ETIMEDOUT);
  }
  CHECK(hooked.sums(WaitView::kBlock, "vigil_test_sleeper").count == 0);
  CHECK(vigil_test_sleeper(&condition, &mutex) == ETIMEDOUT);
  CHECK(hooked.sums(WaitView::kBlock, "vigil_test_sleeper").count == 1);
  pthread_mutex_unlock(&mutex);
}

TEST_CASE("waiting for a condition lets the mutex go: its holder is named") {
  Hooked hooked(1ns);
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  pthread_mutex_lock(&mutex);
  std::thread waiter([&] {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
  });
  REQUIRE(hooked.wait_for_waiters(1));
  vigil_test_condition_holder(&condition, &mutex);
  pthread_mutex_unlock(&mutex);
  waiter.join();
  CHECK(hooked.sums(WaitView::kMutexHolder, "vigil_test_condition_holder").delay_ns > 0);
}

TEST_CASE("semaphores, joins and timed locks are in block, each under its function") {
  Hooked hooked(1ns);
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  const timespec soon = after(CLOCK_REALTIME, 2ms);
  errno = 0;
  CHECK(sem_timedwait(&semaphore, &soon) == -1);
  CHECK(errno == ETIMEDOUT);
  const timespec soon_monotonic = after(CLOCK_MONOTONIC, 2ms);
  CHECK(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &soon_monotonic) == -1);
  std::thread poster([&] {
    std::this_thread::sleep_for(2ms);
    sem_post(&semaphore);
  });
  CHECK(sem_wait(&semaphore) == 0);
  poster.join();
  std::thread sleeper([] { std::this_thread::sleep_for(3ms); });
  sleeper.join();
  std::timed_mutex mutex;
  mutex.lock();
  std::thread impatient([&] { (void)mutex.try_lock_for(2ms); });
  impatient.join();
  mutex.unlock();
  for (const char* function :
       {"sem_timedwait", "sem_clockwait", "sem_wait", "pthread_join", "pthread_mutex_clocklock"}) {
    INFO(function);
    CHECK(hooked.sums(WaitView::kBlock, function).delay_ns >= 1'000'000);
  }
  CHECK(hooked.sums(WaitView::kMutex, "pthread_mutex_clocklock").count == 1);
  CHECK(hooked.sums(WaitView::kMutex, "sem_wait").count == 0);
  CHECK(hooked.profiler->counters().waiting == 0);
}

TEST_CASE("shared libraries wait through the hooks too") {
  Hooked hooked(1ns);
  std::mutex mutex;
  std::condition_variable condition;
  bool ready = false;
  std::unique_lock lock(mutex);
  std::thread other([&] {
    const std::lock_guard when_it_waits(mutex);
    ready = true;
    condition.notify_one();
  });
  // std::condition_variable::wait is in libstdc++.so.
  condition.wait(lock, [&] { return ready; });
  lock.unlock();
  other.join();
  CHECK(hooked.sums(WaitView::kBlock, "pthread_cond_wait").count >= 1);
  CHECK(hooked.sums(WaitView::kBlock, "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE")
            .count >= 1);
}

TEST_CASE("libraries that are opened later find every hook in the executable") {
  Dl_info own{};
  REQUIRE(dladdr(reinterpret_cast<void*>(&vigil_test_waiter), &own) != 0);
  for (const char* name : {"pthread_clockjoin_np",
                           "pthread_cond_clockwait",
                           "pthread_cond_timedwait",
                           "pthread_cond_wait",
                           "pthread_create",
                           "pthread_join",
                           "pthread_mutex_clocklock",
                           "pthread_mutex_lock",
                           "pthread_mutex_timedlock",
                           "pthread_mutex_unlock",
                           "pthread_rwlock_clockrdlock",
                           "pthread_rwlock_clockwrlock",
                           "pthread_rwlock_rdlock",
                           "pthread_rwlock_timedrdlock",
                           "pthread_rwlock_timedwrlock",
                           "pthread_rwlock_unlock",
                           "pthread_rwlock_wrlock",
                           "pthread_timedjoin_np",
                           "sem_clockwait",
                           "sem_timedwait",
                           "sem_wait"}) {
    INFO(name);
    void* const found = dlsym(RTLD_DEFAULT, name);
    Dl_info info{};
    REQUIRE(dladdr(found, &info) != 0);
    CHECK(info.dli_fbase == own.dli_fbase);
  }
}

// Until the thread waits in the kernel, or has ended.
void await_asleep(pid_t thread) {
  while (true) {
    const auto stat = read_thread_stat(thread);
    if (!stat || stat->state == 'S') return;
    std::this_thread::yield();
  }
}

TEST_CASE("locks behave as without hooks, switched on or off") {
  for (const Duration rate : {Duration(0ns), Duration(1ns)}) {
    Hooked hooked(rate);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_t checked;
    pthread_mutex_init(&checked, &attributes);
    CHECK(pthread_mutex_unlock(&checked) == EPERM);
    CHECK(pthread_mutex_lock(&checked) == 0);
    CHECK(pthread_mutex_lock(&checked) == EDEADLK);
    CHECK(pthread_mutex_unlock(&checked) == 0);

    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_t recursive;
    pthread_mutex_init(&recursive, &attributes);
    CHECK(pthread_mutex_lock(&recursive) == 0);
    CHECK(pthread_mutex_lock(&recursive) == 0);
    CHECK(pthread_mutex_unlock(&recursive) == 0);
    CHECK(pthread_mutex_unlock(&recursive) == 0);

    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_NORMAL);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_t robust;
    pthread_mutex_init(&robust, &attributes);
    std::thread([&] { pthread_mutex_lock(&robust); }).join();
    CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
    CHECK(pthread_mutex_consistent(&robust) == 0);
    CHECK(pthread_mutex_unlock(&robust) == 0);

    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    CHECK(pthread_rwlock_rdlock(&rwlock) == 0);
    CHECK(pthread_rwlock_rdlock(&rwlock) == 0);
    const timespec soon = after(CLOCK_REALTIME, 1ms);
    CHECK(pthread_rwlock_timedwrlock(&rwlock, &soon) == ETIMEDOUT);
    CHECK(pthread_rwlock_unlock(&rwlock) == 0);
    CHECK(pthread_rwlock_unlock(&rwlock) == 0);
    CHECK(pthread_rwlock_wrlock(&rwlock) == 0);
    CHECK(pthread_rwlock_timedrdlock(&rwlock, &soon) == EDEADLK);
    CHECK(pthread_rwlock_unlock(&rwlock) == 0);

    sem_t semaphore;
    sem_init(&semaphore, 0, 1);
    errno = 77;
    CHECK(sem_wait(&semaphore) == 0);
    CHECK(errno == 77);
    std::thread poster([&, waiter = current_thread_id()] {
      await_asleep(waiter);
      sem_post(&semaphore);
    });
    CHECK(sem_wait(&semaphore) == 0);
    CHECK(errno == 77);
    poster.join();
    CHECK(hooked.profiler->counters().waiting == 0);
  }
}

struct Cancelled {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  std::atomic<bool> ready{false};
  std::atomic<bool> cleaned{false};
};

void* wait_for_ever(void* argument) {
  auto& state = *static_cast<Cancelled*>(argument);
  struct Cleanup {
    Cancelled& state;
    ~Cleanup() {
      pthread_mutex_unlock(&state.mutex);
      state.cleaned = true;
    }
  };
  pthread_mutex_lock(&state.mutex);
  const Cleanup cleanup{state};
  state.ready = true;
  while (true) pthread_cond_wait(&state.condition, &state.mutex);
}

TEST_CASE(
    "a thread that is cancelled while it waits unwinds through the hook, and its wait counts") {
  Hooked hooked(1ns);
  Cancelled state;
  pthread_t thread{};
  REQUIRE(pthread_create(&thread, nullptr, wait_for_ever, &state) == 0);
  while (!state.ready) std::this_thread::yield();
  // The mutex is free once it waits.
  pthread_mutex_lock(&state.mutex);
  pthread_mutex_unlock(&state.mutex);
  pthread_cancel(thread);
  void* result = nullptr;
  REQUIRE(pthread_join(thread, &result) == 0);
  CHECK(result == PTHREAD_CANCELED);
  CHECK(state.cleaned);
  CHECK(hooked.profiler->counters().waiting == 0);
  CHECK(hooked.sums(WaitView::kBlock, "pthread_cond_wait").count == 1);
}

TEST_CASE("a forked child is switched off, and its parent goes on") {
  Hooked hooked(1ns);
  const pid_t child = fork();
  if (child == 0) {
    std::mutex mutex;
    mutex.lock();
    mutex.unlock();
    pthread_mutex_t other = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&other);
    const bool slept = vigil_test_sleeper(&condition, &other) == ETIMEDOUT;
    pthread_mutex_unlock(&other);
    std::thread([] {}).join();
    const bool off = contention::rate_in_effect() == 0 && contention::gate_threads == 0;
    _exit(slept && off ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(contention::rate_in_effect() == 1);
  CHECK(hooked.sums(WaitView::kBlock, "vigil_test_sleeper").count == 0);
}

}  // namespace
}  // namespace vigil::sampler::test
