// agent-target MODE: a program that knows nothing of vigil and does what servers do to what is in them. Tests start it
// with libvigil_agent.so preloaded, and without, and look at what it says.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

std::size_t entries(const char* folder) {
  const std::filesystem::directory_iterator files(folder);
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

std::string status_line(const std::string& name) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(name + ":", 0) == 0) return line;
  }
  return name + ": ?";
}

void say(const std::string& text) {
  std::fputs((text + "\n").c_str(), stdout);
  std::fflush(stdout);
}

[[noreturn]] void wait_for_the_end() {
  while (true) ::pause();
}

// Keeps a processor busy until the process ends, or for `seconds`.
[[gnu::noinline]] std::uint64_t target_spins(double seconds = 1e9) {
  std::uint64_t sum = 0;
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < until) {
    for (int i = 0; i < 100'000; ++i) sum = sum * 31 + static_cast<std::uint64_t>(i);
  }
  return sum;
}

// Threads, descriptors, signals and environment of this process.
int facts() {
  std::string text = std::to_string(entries("/proc/self/task")) + " threads, " +
                     std::to_string(entries("/proc/self/fd")) + " descriptors\n" +
                     status_line("SigCgt") + "\n" + status_line("SigBlk") + "\n" +
                     status_line("SigIgn") + "\n";
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "LD_PRELOAD=", 11) != 0) text += std::string(*entry) + "\n";
  }
  std::fputs(text.c_str(), stdout);
  return 0;
}

int close_all() {
  for (int number = 3; number < 4096; ++number) ::close(number);
  ::syscall(SYS_close_range, 3, ~0U, 0);
  // What was at these numbers is now something else.
  const int null = ::open("/dev/null", O_RDWR);
  for (int number = 3; number < 256; ++number) ::dup2(null, number);
  say("closed");
  wait_for_the_end();
}

// How many files it can open.
int open_many() {
  int opened = 0;
  while (::open("/dev/null", O_RDONLY) >= 0) ++opened;
  say("opened " + std::to_string(opened));
  return 0;
}

// The classic way: two forks, a session, everything closed. The daemon's number goes to `file`.
int daemonize(const char* file) {
  if (::fork() != 0) ::_exit(0);
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  ::syscall(SYS_close_range, 0, ~0U, 0);
  const std::string name = std::string(file) + ".new";
  std::ofstream(name) << ::getpid() << "\n";
  std::filesystem::rename(name, file);
  wait_for_the_end();
}

int daemonize_by_the_library(const char* file) {
  if (::daemon(0, 0) != 0) return 1;
  const std::string name = std::string(file) + ".new";
  std::ofstream(name) << ::getpid() << "\n";
  std::filesystem::rename(name, file);
  wait_for_the_end();
}

int fork_once() {
  const pid_t child = ::fork();
  if (child == 0) {
    say("child " + std::to_string(::getpid()));
    // Allocations and locks in the child: a sampler that is on, but has nobody to read it, would show.
    std::map<int, std::string> made;
    std::mutex mutex;
    for (int i = 0; i < 20'000; ++i) {
      const std::lock_guard lock(mutex);
      made[i % 1000] = std::string(1000, 'x');
    }
    say("child has " + std::to_string(entries("/proc/self/task")) + " threads, " +
        std::to_string(entries("/proc/self/fd")) + " descriptors");
    wait_for_the_end();
  }
  say("parent " + std::to_string(::getpid()));
  wait_for_the_end();
}

// Ends with the number of children that did not.
int number_of(std::string_view word) {
  int number = 0;
  const auto [end, error] = std::from_chars(word.begin(), word.end(), number);
  if (error == std::errc() && end == word.end()) return number;
  std::fprintf(stderr, "agent-target: %s: not a number\n", word.data());
  std::exit(2);
}

int storm(int rounds) {
  int failed = 0;
  for (int i = 0; i < rounds; ++i) {
    pid_t child = -1;
    const char* const arguments[] = {"/bin/true", nullptr};
    auto* const words = const_cast<char* const*>(arguments);
    if (i % 3 == 0) {
      child = ::vfork();
      if (child == 0) {
        ::execv(arguments[0], words);
        ::_exit(126);
      }
    } else if (i % 3 == 1) {
      child = ::fork();
      if (child == 0) {
        ::execv(arguments[0], words);
        ::_exit(126);
      }
    } else {
      ::posix_spawn(&child, arguments[0], nullptr, nullptr, words, environ);
    }
    int status = -1;
    if (::waitpid(child, &status, 0) != child || status != 0) ++failed;
  }
  return failed;
}

int block_signals() {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  say("blocked");
  return static_cast<int>(target_spins() & 1);
}

int leave_main() {
  static std::atomic<bool> go_on{true};
  struct sigaction action {};
  action.sa_handler = [](int) { go_on = false; };
  ::sigaction(SIGUSR1, &action, nullptr);
  std::thread([] {
    say("main has left");
    while (go_on) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    say("the last thread ends");
  }).detach();
  ::pthread_exit(nullptr);
}

int not_dumpable() {
  ::prctl(PR_SET_DUMPABLE, 0);
  std::thread([] { target_spins(); }).detach();
  say("hidden");
  wait_for_the_end();
}

// A thread that may only read, write, return from a signal's handler and end (SECCOMP_MODE_STRICT).
int strict() {
  int ends[2];
  if (::pipe(ends) != 0) return 1;
  std::thread([&ends] {
    ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    char byte = 0;
    while (::syscall(SYS_read, ends[0], &byte, 1) == 1) {
      for (int i = 0; i < 10'000'000; ++i) asm volatile("" : : : "memory");
      ::syscall(SYS_write, STDOUT_FILENO, "alive\n", 6);
    }
    ::syscall(SYS_exit, 0);
  }).detach();
  ::write(ends[1], "x", 1);
  struct sigaction action {};
  static int pipe_end = ends[1];
  action.sa_handler = [](int) { [[maybe_unused]] const auto n = ::write(pipe_end, "x", 1); };
  ::sigaction(SIGUSR1, &action, nullptr);
  wait_for_the_end();
}

[[gnu::noinline]] void target_retains(std::vector<void*>& kept) {
  for (int i = 0; i < 4096; ++i) {
    void* const object = ::malloc(16 * 1024);
    std::memset(object, 1, 16 * 1024);
    kept.push_back(object);
  }
}
[[gnu::noinline]] std::vector<std::string>* target_news() {
  auto* const kept = new std::vector<std::string>;
  for (int i = 0; i < 4096; ++i) kept->push_back(std::string(8 * 1024, 'x'));
  return kept;
}

int allocate() {
  static std::vector<void*> kept;
  target_retains(kept);
  static const auto* const strings = target_news();
  say("allocated " + std::to_string(kept.size() + strings->size()));
  wait_for_the_end();
}

std::mutex contended;
[[gnu::noinline]] void target_holds() {
  while (true) {
    const std::lock_guard lock(contended);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}
[[gnu::noinline]] void target_waits() {
  while (true) {
    const std::lock_guard lock(contended);
  }
}
int contend() {
  std::thread([] { target_holds(); }).detach();
  std::thread([] { target_waits(); }).detach();
  say("contending");
  wait_for_the_end();
}

struct Counted {
  static inline int live = 0;
  Counted() { ++live; }
  ~Counted() { --live; }
};
[[gnu::noinline]] void throw_through(int depth) {
  const Counted counted;
  if (depth == 0) throw std::runtime_error("thrown");
  throw_through(depth - 1);
}

// The program's own exceptions and its own new-handler, with another C++ runtime in the process.
int exceptions() {
  static int handled = 0;
  std::set_new_handler([] {
    if (++handled == 3) std::set_new_handler(nullptr);
  });
  try {
    [[maybe_unused]] void* volatile object = ::operator new (std::size_t{1} << 62);
    return 1;
  } catch (const std::bad_alloc&) {
  }
  [[maybe_unused]] void* volatile nothing = ::operator new (std::size_t{1} << 62, std::nothrow);
  try {
    throw_through(40);
    return 2;
  } catch (const std::runtime_error& error) {
    if (std::strcmp(error.what(), "thrown") != 0) return 3;
  }
  try {
    std::thread refused([] {});
    refused.join();
  } catch (const std::exception&) {
    return 4;
  }
  if (nothing != nullptr) return 5;
  say("handler called " + std::to_string(handled) + " times, " + std::to_string(Counted::live) +
      " left, " + std::to_string(std::uncaught_exceptions()) + " uncaught");
  return 0;
}

// Opens the library as it runs, starts an agent through its C interface, stops it and starts another one at SIGUSR1.
int open_library(const char* library) {
  void* const opened = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    say(::dlerror());
    return 1;
  }
  const auto start = reinterpret_cast<int (*)(const char*, char*, unsigned long)>(
      ::dlsym(opened, "vigil_agent_start"));
  const auto stop = reinterpret_cast<void (*)()>(::dlsym(opened, "vigil_agent_stop"));
  const auto address = reinterpret_cast<unsigned long (*)(char*, unsigned long)>(
      ::dlsym(opened, "vigil_agent_address"));
  char text[256] = "";
  if (start("nonsense=1", text, sizeof text) != -1) return 2;
  say(text);
  if (start(nullptr, text, sizeof text) != -1) return 3;
  say(text);
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
  ::dlclose(opened);  // which leaves it where it is
  std::thread([] { target_spins(); }).detach();
  while (true) {
    if (start("listen=127.0.0.1:0 stuck_after=1s log=off", text, sizeof text) != 0) {
      say(text);
      return 4;
    }
    if (start("listen=127.0.0.1:0", nullptr, 0) != -1) return 5;
    address(text, sizeof text);
    say(std::string("serves at ") + text);
    int received = 0;
    sigwait(&usr1, &received);
    stop();
    if (address(nullptr, 0) != 0) return 6;
  }
}

int run(int count, char** arguments) {
  const std::string mode = count > 1 ? arguments[1] : "";
  const char* const word = count > 2 ? arguments[2] : "";
  if (mode == "facts") return facts();
  if (mode == "open-many") return open_many();
  if (mode == "close-all") return close_all();
  if (mode == "daemonize") return daemonize(word);
  if (mode == "daemon") return daemonize_by_the_library(word);
  if (mode == "fork") return fork_once();
  if (mode == "storm") return storm(number_of(word));
  if (mode == "block-signals") return block_signals();
  if (mode == "leave-main") return leave_main();
  if (mode == "not-dumpable") return not_dumpable();
  if (mode == "strict") return strict();
  if (mode == "allocate") return allocate();
  if (mode == "contend") return contend();
  if (mode == "exceptions") return exceptions();
  if (mode == "dlopen") return open_library(word);
  if (mode == "exec") return ::execl(arguments[0], arguments[0], "wait", nullptr);
  if (mode == "wait") {
    say("waiting");
    wait_for_the_end();
  }
  if (mode == "spin") {
    say("spinning");
    return target_spins(number_of(word)) == 1 ? 1 : 0;
  }
  return 2;
}

}  // namespace

int main(int count, char** arguments) { return run(count, arguments); }
