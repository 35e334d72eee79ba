// P6.3: what a program sees of profiles and dumps in its blocking calls. 22 kinds of calls of
// signal(7), a thread for each, which run for a moment and block for some milliseconds, over and
// over; once left alone, once under a CPU profile, once under dumps, once under a wall profile.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>

#include "sampler/cpu_profiler.h"
#include "sampler/wall_profiler.h"
#include "tests/sampler/capture/burners.h"
#include "tests/sampler/capture/captured_threads.h"
#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

using namespace std::chrono_literals;

constexpr long kBlockNs = 5'000'000;
constexpr int kBlockMs = 5;
constexpr timespec kBlock{0, kBlockNs};

// A blocking call; true if it ended as it does when nobody disturbs it.
using Call = std::function<bool()>;

struct Kind {
  std::string name;
  Call call;
};

timespec in_block_time(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  now.tv_nsec += kBlockNs;
  if (now.tv_nsec >= 1'000'000'000) {
    now.tv_nsec -= 1'000'000'000;
    ++now.tv_sec;
  }
  return now;
}

int with_timeout(int fd, int option) {
  const timeval timeout{0, kBlockMs * 1000};
  setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof timeout);
  return fd;
}

// Descriptors that the calls block on. Never closed: the process ends soon.
struct Blocking {
  int pipe_in[2], fed_pipe[2], fed_pair[2], pair[2], full[2];
  int epoll = epoll_create1(0);
  int event = eventfd(0, 0);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  int semaphores = semget(IPC_PRIVATE, 1, 0600);
  mqd_t queue{};
  sem_t posix{};
  sem_t fed_posix{};
  std::uint32_t word = 0;

  Blocking() {
    for (int* fds : {pipe_in, fed_pipe}) REQUIRE(::pipe(fds) == 0);
    for (int* fds : {fed_pair, pair, full}) REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    with_timeout(pair[0], SO_RCVTIMEO);
    const std::string block(4096, 'x');
    while (send(full[0], block.data(), block.size(), MSG_DONTWAIT) > 0) {
    }
    with_timeout(full[0], SO_SNDTIMEO);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;  // an abstract name, chosen by the kernel
    REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) == 0);
    REQUIRE(listen(listener, 1) == 0);
    with_timeout(listener, SO_RCVTIMEO);
    const std::string name = "/vigil-test-" + std::to_string(getpid());
    mq_attr attributes{};
    attributes.mq_maxmsg = 1;
    attributes.mq_msgsize = 8;
    queue = mq_open(name.c_str(), O_CREAT | O_RDWR, 0600, &attributes);
    REQUIRE(queue >= 0);
    mq_unlink(name.c_str());
    sem_init(&posix, 0, 0);
    sem_init(&fed_posix, 0, 0);
  }
  ~Blocking() { semctl(semaphores, 0, IPC_RMID); }

  // False if not all of them could be fed.
  bool feed() {
    const bool pipe_fed = write(fed_pipe[1], "xx", 2) == 2;
    const bool pair_fed = write(fed_pair[1], "xx", 2) == 2;
    return sem_post(&fed_posix) == 0 && pipe_fed && pair_fed;
  }

  std::vector<Kind> kinds();
};

bool timed_out(long result, int error) { return result == -1 && errno == error; }

std::vector<Kind> Blocking::kinds() {
  const auto polled = [this] { return pollfd{pipe_in[0], POLLIN, 0}; };
  const auto set = [this](fd_set& fds) {
    FD_ZERO(&fds);
    FD_SET(pipe_in[0], &fds);
    return pipe_in[0] + 1;
  };
  return {
      {"nanosleep", [] { return nanosleep(&kBlock, nullptr) == 0; }},
      {"clock_nanosleep",
       [] { return clock_nanosleep(CLOCK_MONOTONIC, 0, &kBlock, nullptr) == 0; }},
      {"clock_nanosleep absolute",
       [] {
         const timespec until = in_block_time(CLOCK_MONOTONIC);
         return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == 0;
       }},
      {"usleep", [] { return usleep(kBlockMs * 1000) == 0; }},
      {"poll",
       [=] {
         auto p = polled();
         return poll(&p, 1, kBlockMs) == 0;
       }},
      {"ppoll",
       [=] {
         auto p = polled();
         return ppoll(&p, 1, &kBlock, nullptr) == 0;
       }},
      {"select",
       [=] {
         fd_set fds;
         const int count = set(fds);
         timeval timeout{0, kBlockMs * 1000};
         return select(count, &fds, nullptr, nullptr, &timeout) == 0;
       }},
      {"pselect",
       [=] {
         fd_set fds;
         const int count = set(fds);
         return pselect(count, &fds, nullptr, nullptr, &kBlock, nullptr) == 0;
       }},
      {"epoll_wait",
       [this] {
         epoll_event e;
         return epoll_wait(epoll, &e, 1, kBlockMs) == 0;
       }},
      {"epoll_pwait",
       [this] {
         epoll_event e;
         return epoll_pwait(epoll, &e, 1, kBlockMs, nullptr) == 0;
       }},
      {"epoll_pwait2",
       [this] {
         epoll_event e;
         return epoll_pwait2(epoll, &e, 1, &kBlock, nullptr) == 0;
       }},
      {"sigtimedwait",
       [] {
         sigset_t none;
         sigemptyset(&none);
         sigaddset(&none, SIGUSR2);
         return timed_out(sigtimedwait(&none, nullptr, &kBlock), EAGAIN);
       }},
      {"semtimedop",
       [this] {
         sembuf down{0, -1, 0};
         return timed_out(semtimedop(semaphores, &down, 1, &kBlock), EAGAIN);
       }},
      {"mq_timedreceive",
       [this] {
         const timespec until = in_block_time(CLOCK_REALTIME);
         char message[8];
         return timed_out(mq_timedreceive(queue, message, sizeof message, nullptr, &until),
                          ETIMEDOUT);
       }},
      {"sem_timedwait",
       [this] {
         const timespec until = in_block_time(CLOCK_REALTIME);
         return timed_out(sem_timedwait(&posix, &until), ETIMEDOUT);
       }},
      {"futex wait with timeout",
       [this] {
         return timed_out(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &kBlock, nullptr, 0),
                          ETIMEDOUT);
       }},
      {"recv with SO_RCVTIMEO",
       [this] {
         char byte = 0;
         return timed_out(recv(pair[0], &byte, 1, 0), EAGAIN);
       }},
      {"send with SO_SNDTIMEO", [this] { return timed_out(send(full[0], "x", 1, 0), EAGAIN); }},
      {"accept with SO_RCVTIMEO",
       [this] { return timed_out(accept(listener, nullptr, nullptr), EAGAIN); }},
      {"read of a pipe",
       [this] {
         char bytes[2];
         return read(fed_pipe[0], bytes, sizeof bytes) > 0;
       }},
      {"recv",
       [this] {
         char bytes[2];
         return recv(fed_pair[0], bytes, sizeof bytes, 0) > 0;
       }},
      {"sem_wait", [this] { return sem_wait(&fed_posix) == 0; }},
  };
}

struct Count {
  std::atomic<std::int64_t> calls{0};
  std::atomic<std::int64_t> interrupted{0};
};

// Calls of all kinds for `duration`, while `disturb` runs; how often each kind ended otherwise than
// undisturbed.
std::map<std::string, std::int64_t> interruptions(Duration duration,
                                                  const std::function<void(MonotonicTime)>& disturb,
                                                  std::int64_t& calls) {
  Blocking blocking;
  const std::vector<Kind> kinds = blocking.kinds();
  std::vector<Count> counts(kinds.size());
  std::atomic<bool> stop{false};
  std::atomic<int> unfed{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    threads.emplace_back([&, i] {
      while (!stop) {
        burn_cpu_seconds(0.0002);
        if (!kinds[i].call()) ++counts[i].interrupted;
        ++counts[i].calls;
      }
    });
  }
  std::thread feeder([&] {
    while (!stop) {
      if (!blocking.feed()) ++unfed;
      std::this_thread::sleep_for(std::chrono::milliseconds(kBlockMs));
    }
  });
  disturb(std::chrono::steady_clock::now() + duration);
  stop = true;
  // The fed calls may be waiting for one more.
  feeder.join();
  if (!blocking.feed()) ++unfed;
  for (std::thread& thread : threads) thread.join();
  CHECK(unfed == 0);
  std::map<std::string, std::int64_t> by_kind;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    calls += counts[i].calls;
    if (counts[i].interrupted != 0) by_kind[kinds[i].name] = counts[i].interrupted;
  }
  return by_kind;
}

// Seconds for each part; 30 where VIGIL_TEST_LONG is set, as the reliability case asks.
Duration part_time() { return std::getenv("VIGIL_TEST_LONG") != nullptr ? 30s : 2s; }

std::string described(const std::map<std::string, std::int64_t>& by_kind) {
  std::string text;
  for (const auto& [kind, count] : by_kind) text += " " + kind + "=" + std::to_string(count);
  return text.empty() ? " none" : text;
}

struct Interruptions : Sampling {
  CpuProfiler cpu{clock, modules, unwinder, *channel};
  WallProfiler wall{clock, *collector};
  std::int64_t calls = 0;

  std::map<std::string, std::int64_t> count(std::string_view what,
                                            const std::function<void(MonotonicTime)>& disturb) {
    calls = 0;
    const auto captures = channel->counters().captures;
    const auto samples = channel->counters().samples;
    auto by_kind = interruptions(part_time(), disturb, calls);
    WARN(what << ": " << calls << " calls, " << channel->counters().captures - captures
              << " captures by signal, " << channel->counters().samples - samples
              << " CPU samples; interrupted:" << described(by_kind));
    CHECK(calls > 1000);
    return by_kind;
  }
};

TEST_CASE_METHOD(Interruptions, "P6.3 no blocking call is interrupted when nobody looks") {
  CHECK(count("bare", [](MonotonicTime until) { std::this_thread::sleep_until(until); }).empty());
}

TEST_CASE_METHOD(Interruptions, "P6.3 no blocking call is interrupted by a CPU profile") {
  const auto by_kind = count("CPU profile at 1000 Hz", [&](MonotonicTime until) {
    REQUIRE(cpu.profile({.hz = 1000, .deadline = until}, {}));
  });
  CHECK(by_kind.empty());
  CHECK(channel->counters().samples > 10);
}

TEST_CASE_METHOD(Interruptions, "P6.3 no blocking call is interrupted by a dump every 100 ms") {
  const auto by_kind = count("dumps", [&](MonotonicTime until) {
    while (clock.now() < until) {
      collector->capture_all(clock.now() + 1s);
      std::this_thread::sleep_for(100ms);
    }
  });
  CHECK(by_kind.empty());
}

TEST_CASE_METHOD(Interruptions, "P6.3 no blocking call is interrupted by a wall profile") {
  const auto by_kind = count("wall profile at 50 Hz", [&](MonotonicTime until) {
    REQUIRE(wall.profile({.hz = 50, .deadline = until}, {}));
  });
  CHECK(by_kind.empty());
}

}  // namespace
}  // namespace vigil::sampler
