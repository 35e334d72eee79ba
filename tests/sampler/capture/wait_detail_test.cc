#include "sampler/wait_detail.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "base/fd.h"
#include "base/socket_address.h"
#include "base/text.h"
#include "base/thread_id.h"
#include "sampler/symbolizer.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

std::uintptr_t address_of(const void* object) { return reinterpret_cast<std::uintptr_t>(object); }

struct Details : Sampling {
  std::unique_ptr<Symbolizer> symbolizer = *Symbolizer::create({});

  WaitDetail of(const TestThread& thread, std::int64_t syscall) {
    REQUIRE(thread.await_blocked(syscall));
    const ThreadStack stack = capture_one(thread.tid());
    const auto frames = text_frames(stack.stack, *modules.current(), symbolizer.get());
    return wait_detail(stack, frames);
  }
  std::optional<LockWait> lock_of(const TestThread& thread) {
    const auto call = read_thread_syscall(thread.tid());
    REQUIRE(call.ok());
    return lock_wait(*call);
  }
};

// A TCP connection on loopback, and the listener that it came through.
struct Connection {
  Connection() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    listener.reset(socket(AF_INET, SOCK_STREAM, 0));
    client.reset(socket(AF_INET, SOCK_STREAM, 0));
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(bind(listener.get(), generic, size) == 0);
    REQUIRE(listen(listener.get(), 1) == 0);
    REQUIRE(getsockname(listener.get(), generic, &size) == 0);
    REQUIRE(connect(client.get(), generic, size) == 0);
    server.reset(accept(listener.get(), nullptr, nullptr));
    peer = format_host_port({"127.0.0.1", ntohs(address.sin_port)});
  }
  UniqueFd listener;
  UniqueFd client;
  UniqueFd server;
  std::string peer;  // as the client sees it
};

void read_to_end(int fd) {
  std::array<char, 64> buffer;
  while (read(fd, buffer.data(), buffer.size()) > 0) {
  }
}

TEST_CASE_METHOD(Details, "a thread that waits for a mutex: which one, and who holds it") {
  std::mutex mutex;
  mutex.lock();
  TestThread thread([&] { const std::lock_guard lock(mutex); });
  const WaitDetail wait = of(thread, SYS_futex);
  const auto seen = lock_of(thread);
  mutex.unlock();
  CHECK(wait.kind == WaitKind::kMutex);
  CHECK(wait.object == address_of(&mutex));
  CHECK(wait.owner == current_thread_id());
  CHECK(wait.text ==
        "mutex " + hex_address(wait.object) + " held by thread " + std::to_string(wait.owner));
  REQUIRE(seen);
  CHECK(seen->object == wait.object);
  CHECK(seen->owner == wait.owner);
}

TEST_CASE_METHOD(Details, "robust, recursive and priority-inheriting mutexes name their owner") {
  const auto check = [&](auto configure) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    configure(attributes);
    pthread_mutex_t mutex;
    REQUIRE(pthread_mutex_init(&mutex, &attributes) == 0);
    REQUIRE(pthread_mutex_lock(&mutex) == 0);
    {
      TestThread thread([&] {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
      });
      const WaitDetail wait = of(thread, SYS_futex);
      const auto seen = lock_of(thread);
      pthread_mutex_unlock(&mutex);
      CHECK(wait.kind == WaitKind::kMutex);
      CHECK(wait.object == address_of(&mutex));
      CHECK(wait.owner == current_thread_id());
      REQUIRE(seen);
      CHECK(seen->owner == wait.owner);
    }
    pthread_mutex_destroy(&mutex);
  };
  check([](auto& a) { pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE); });
  check([](auto& a) { pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST); });
  check([](auto& a) { pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT); });
}

TEST_CASE_METHOD(Details, "a wait for a mutex that has a timeout names the owner, but is no edge") {
  std::timed_mutex mutex;
  mutex.lock();
  // By the system's clock: g++ 12's ThreadSanitizer does not know pthread_mutex_clocklock(), which a
  // wait by the other one is, and takes the unlock for a stranger's (github.com/llvm/llvm-project/issues/62623).
  TestThread thread([&] {
    if (mutex.try_lock_until(std::chrono::system_clock::now() + 60s)) mutex.unlock();
  });
  const WaitDetail wait = of(thread, SYS_futex);
  const auto seen = lock_of(thread);
  mutex.unlock();
  CHECK(wait.kind == WaitKind::kMutex);
  CHECK(wait.owner == current_thread_id());
  CHECK_FALSE(seen);
}

TEST_CASE_METHOD(Details, "a read-write lock names its writer, to readers and to writers") {
  std::shared_mutex lock;
  lock.lock();
  TestThread reader([&] { const std::shared_lock shared(lock); });
  TestThread writer([&] { const std::lock_guard exclusive(lock); });
  const WaitDetail reads = of(reader, SYS_futex);
  const WaitDetail writes = of(writer, SYS_futex);
  lock.unlock();
  for (const WaitDetail& wait : {reads, writes}) {
    CHECK(wait.kind == WaitKind::kReadWriteLock);
    CHECK(wait.object == address_of(&lock));
    CHECK(wait.owner == current_thread_id());
  }
}

TEST_CASE_METHOD(Details,
                 "a condition variable, and its mutex when that is what the wait hangs on") {
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;
  TestThread thread([&] {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return stop; });
  });
  const WaitDetail waits = of(thread, SYS_futex);
  CHECK(waits.kind == WaitKind::kConditionVariable);
  CHECK(waits.owner == 0);
  CHECK_FALSE(lock_of(thread));

  mutex.lock();
  stop = true;
  wake.notify_all();  // it wakes, and cannot have the mutex
  const MonotonicTime deadline = clock.now() + 10s;
  WaitDetail again;
  do again = of(thread, SYS_futex);
  while (again.kind != WaitKind::kMutex && clock.now() < deadline);
  mutex.unlock();
  CHECK(again.kind == WaitKind::kMutex);
  CHECK(again.object == address_of(&mutex));
  CHECK(again.owner == current_thread_id());
}

TEST_CASE_METHOD(Details, "a semaphore, a join, a sleep") {
  sem_t semaphore;
  REQUIRE(sem_init(&semaphore, 0, 0) == 0);
  TestThread waits([&] { sem_wait(&semaphore); });
  TestThread joins([&] { waits.join(); });
  struct sigaction wake {};
  struct sigaction before {};
  wake.sa_handler = [](int) {};
  REQUIRE(sigaction(SIGUSR2, &wake, &before) == 0);
  TestThread sleeps([] {
    const timespec time{.tv_sec = 30, .tv_nsec = 500'000'000};
    nanosleep(&time, nullptr);
  });
  const WaitDetail sleep = of(sleeps, SYS_clock_nanosleep);
  const WaitDetail semaphore_wait = of(waits, SYS_futex);
  const WaitDetail join = of(joins, SYS_futex);
  const auto seen = lock_of(joins);
  tgkill(getpid(), sleeps.tid(), SIGUSR2);
  sleeps.join();
  sigaction(SIGUSR2, &before, nullptr);
  sem_post(&semaphore);
  joins.join();
  sem_destroy(&semaphore);
  CHECK(semaphore_wait.kind == WaitKind::kSemaphore);
  CHECK(join.kind == WaitKind::kJoin);
  CHECK(join.owner == waits.tid());
  CHECK(join.text == "end of thread " + std::to_string(waits.tid()));
  REQUIRE(seen);
  CHECK(seen->owner == waits.tid());
  CHECK(sleep.kind == WaitKind::kSleep);
  CHECK(sleep.text == "sleep of 30.5s");
}

// Ends the call that `thread` is in.
void interrupt(const TestThread& thread) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, nullptr);
  syscall(SYS_tgkill, getpid(), thread.tid(), SIGUSR1);
}

// Once a dump said "sleep of 1389684h25m": the sleep was over before its length was read, and the stack in use again.
TEST_CASE_METHOD(Details,
                 "of a thread that has moved on: neither how long it sleeps nor what it polls") {
  const timespec hour{.tv_sec = 3600, .tv_nsec = 0};
  pollfd polled{.fd = 0, .events = 0, .revents = 0};
  TestThread moves([&] {
    clock_nanosleep(CLOCK_MONOTONIC, 0, &hour, nullptr);
    poll(&polled, 1, -1);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &hour, nullptr);
  });
  const auto captured_in = [&](std::int64_t number) {
    REQUIRE(moves.await_blocked(number));
    return capture_one(moves.tid());
  };
  const ThreadStack sleeps = captured_in(SYS_clock_nanosleep);
  const std::string length = wait_detail(sleeps, {}).text;
  interrupt(moves);
  const ThreadStack polls = captured_in(SYS_poll);
  const std::string descriptors = wait_detail(polls, {}).text;
  const WaitDetail slept = wait_detail(sleeps, {});
  interrupt(moves);
  captured_in(SYS_clock_nanosleep);
  const WaitDetail has_polled = wait_detail(polls, {});
  interrupt(moves);
  CHECK(length == "sleep of 1h");
  CHECK(slept.kind == WaitKind::kSleep);
  CHECK(slept.text == "sleep");
  CHECK(descriptors.starts_with("poll of "));
  CHECK(has_polled.text == "poll");
}

TEST_CASE_METHOD(Details, "sockets are named with their peer, pipes by the kernel's name") {
  Connection connection;
  TestThread reads([&] { read_to_end(connection.client.get()); });
  TestThread accepts([&] { UniqueFd(accept(connection.listener.get(), nullptr, nullptr)); });
  TestThread polls([&] {
    pollfd one{.fd = connection.server.get(), .events = POLLIN, .revents = 0};
    poll(&one, 1, -1);
  });
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  TestThread pipe_reader([&] { read_to_end(ends[0]); });
  const WaitDetail read = of(reads, SYS_read);
  const WaitDetail accept = of(accepts, SYS_accept);
  const WaitDetail poll = of(polls, SYS_poll);
  const WaitDetail pipe = of(pipe_reader, SYS_read);
  const std::string server_peer = socket_peer_text(connection.server.get());
  shutdown(connection.client.get(), SHUT_RDWR);
  shutdown(connection.listener.get(), SHUT_RDWR);
  close(ends[1]);
  pipe_reader.join();
  close(ends[0]);
  CHECK(read.kind == WaitKind::kSocketRead);
  CHECK(read.text == "read from socket " + std::to_string(connection.client.get()) + ", peer " +
                         connection.peer);
  CHECK(accept.kind == WaitKind::kAccept);
  CHECK(accept.descriptor == connection.listener.get());
  CHECK(poll.kind == WaitKind::kPoll);
  CHECK(poll.text ==
        "poll of socket " + std::to_string(connection.server.get()) + ", peer " + server_peer);
  CHECK(pipe.kind == WaitKind::kFileRead);
  CHECK(pipe.text.find("(pipe:[") != std::string::npos);
}

TEST_CASE_METHOD(Details, "a full socket is a write that waits for its peer") {
  Connection connection;
  TestThread writes([&] {
    const std::vector<char> block(1 << 20);
    while (send(connection.client.get(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  const WaitDetail write = of(writes, SYS_sendto);
  shutdown(connection.client.get(), SHUT_RDWR);
  CHECK(write.kind == WaitKind::kSocketWrite);
  CHECK(write.text.find("peer " + connection.peer) != std::string::npos);
}

TEST_CASE("a running thread waits for nothing, one in a page fault says so") {
  ThreadStack thread;
  thread.state = 'R';
  CHECK(wait_detail(thread, {}).kind == WaitKind::kNothing);
  CHECK(wait_detail(thread, {}).text.empty());
  thread.call.kind = ThreadSyscall::Kind::kStopped;
  thread.state = 'S';
  CHECK(wait_detail(thread, {}).kind == WaitKind::kPageFault);
  CHECK(wait_detail(thread, {}).text == "page fault");
  thread.state = 'T';
  CHECK(wait_detail(thread, {}).kind == WaitKind::kStopped);
}

TEST_CASE("a futex whose memory is gone, or is no lock, has no owner") {
  std::array<std::uint32_t, 10> memory{};
  ThreadSyscall call{.kind = ThreadSyscall::Kind::kBlocked, .number = SYS_futex};
  call.args = {address_of(memory.data()), 128, 2, 0, 0, 0};
  CHECK_FALSE(lock_wait(call));  // not locked
  memory[0] = 2;
  CHECK_FALSE(lock_wait(call));  // nobody's
  memory[2] = 4711;
  REQUIRE(lock_wait(call));
  CHECK(lock_wait(call)->owner == 4711);
  memory[4] = 0x10000;  // no kind of a mutex
  CHECK_FALSE(lock_wait(call));
  memory[4] = 0;
  call.args[2] = 3;  // not the value that glibc's mutexes wait on
  CHECK_FALSE(lock_wait(call));
  call.args[0] = 8;
  call.args[2] = 2;
  CHECK_FALSE(lock_wait(call));
}

TEST_CASE("what a futex is for comes from the innermost function that is known") {
  const auto kind = [](std::initializer_list<const char*> names) {
    std::vector<TextFrame> frames;
    for (const char* name : names) frames.push_back({.function = name});
    return futex_kind(frames);
  };
  CHECK(kind({"__lll_lock_wait", "__GI___pthread_mutex_lock", "f"}) == WaitKind::kMutex);
  CHECK(kind({"futex_wait", "___pthread_cond_timedwait64", "f"}) == WaitKind::kConditionVariable);
  CHECK(kind({"__new_sem_wait_slow64.constprop.0"}) == WaitKind::kSemaphore);
  CHECK(kind({"__pthread_clockjoin_ex", "std::thread::join()"}) == WaitKind::kJoin);
  CHECK(kind({"syscall", "__cxa_guard_acquire"}) == WaitKind::kOnce);
  CHECK(kind({"syscall", "std::__atomic_wait"}) == WaitKind::kFutex);
  CHECK(kind({"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "pthread_mutex_lock"}) ==
        WaitKind::kFutex);
  CHECK(kind({"____", ""}) == WaitKind::kFutex);
}

}  // namespace
}  // namespace vigil::sampler
