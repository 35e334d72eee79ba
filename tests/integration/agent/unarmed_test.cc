// P8.1 and P8.2: what a program is like with the library in it that is not asked for anything.
#include <algorithm>
#include <chrono>
#include <set>
#include <sstream>

#include "tests/integration/agent/preloaded.h"
#include "tests/support/catch.h"
#include "tests/support/go_pprof.h"

using namespace vigil::test;  // NOLINT: a test

namespace {

Finished finish(const std::vector<std::string>& command, const Environment& environment) {
  return Subprocess(command, environment).wait();
}

void is_the_same(const std::vector<std::string>& command) {
  const Finished without = finish(command, {});
  const Finished with = finish(command, unarmed());
  INFO(command.back());
  CHECK(with.exit_status == without.exit_status);
  CHECK(with.signal == without.signal);
  CHECK(with.out == without.out);
  CHECK(with.err == without.err);
}

// The words in the last column of a program's lines.
std::set<std::string> last_words(const std::string& text, const std::string& lines_with) {
  std::set<std::string> words;
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.find(lines_with) == std::string::npos) continue;
    words.insert(line.substr(line.find_last_of(' ') + 1));
  }
  return words;
}

}  // namespace

TEST_CASE("P8.1 sh, python3, perl, tar and others are the same with the library and without") {
  const TemporaryFolder folder;
  is_the_same({"sh", "-c", "echo out; echo err >&2; echo $0 | sed s/s/S/; exit 3"});
  is_the_same({"sh", "-c", "kill -SEGV $$"});
  is_the_same({"/usr/bin/python3", "-c",
               "import os, sys, threading, subprocess\n"
               "t = [threading.Thread(target=print, args=(i,)) for i in range(3)]\n"
               "[(x.start(), x.join()) for x in t]\n"
               "print(subprocess.run(['expr', '1', '+', '1'], capture_output=True).stdout)\n"
               "print(sorted(os.listdir('/proc/self/task')) == [str(os.getpid())])\n"
               "sys.exit('with words')"});
  is_the_same({"perl", "-e", "print join ',', map { $_ * 2 } 1 .. 1000; die qq(end\\n)"});
  is_the_same({"tar", "cf", "-", "--sort=name", "-C", "/usr/share", "doc/tar"});
  is_the_same({"tar", "xf", "/no/such/file"});
  is_the_same({"awk", "BEGIN { for (i = 0; i < 1000; i++) s = s i; print length(s) }"});
  is_the_same({kTargetProgram, "exceptions"});
  is_the_same({kTargetProgram, "storm", "30"});
}

TEST_CASE("P8.1 no thread, descriptor, signal handler or variable is there that was not") {
  is_the_same({kTargetProgram, "facts"});
  // The check sees an agent.
  const Finished with = finish({kTargetProgram, "facts"}, armed());
  CHECK(with.out != finish({kTargetProgram, "facts"}, {}).out);
}

TEST_CASE("P8.1 a start takes 20 ms more at the most") {
  const auto seconds_of = [](const Environment& environment) {
    auto least = std::chrono::nanoseconds::max();
    for (int i = 0; i < 15; ++i) {
      const auto began = std::chrono::steady_clock::now();
      finish({"/bin/true"}, environment);
      least = std::min<std::chrono::nanoseconds>(least, std::chrono::steady_clock::now() - began);
    }
    return std::chrono::duration<double>(least).count();
  };
  const double without = seconds_of({});
  CHECK(seconds_of(unarmed()) - without < 0.020);
}

TEST_CASE("P8.2 it exports its C interface and what it interposes, and nothing else") {
  const std::set<std::string> expected = {
      // vigil_agent.h
      "vigil_agent_address", "vigil_agent_start", "vigil_agent_stop", "vigil_agent_version",
      // entry.cc
      "__libc_start_main", "daemon", "pthread_exit", "setsid",
      // malloc_interpose.cc
      "aligned_alloc", "calloc", "free", "malloc", "memalign", "posix_memalign", "pvalloc",
      "realloc", "reallocarray", "valloc", "_ZdaPv", "_ZdaPvRKSt9nothrow_t",
      "_ZdaPvSt11align_val_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t", "_ZdaPvm",
      "_ZdaPvmSt11align_val_t", "_ZdlPv", "_ZdlPvRKSt9nothrow_t", "_ZdlPvSt11align_val_t",
      "_ZdlPvSt11align_val_tRKSt9nothrow_t", "_ZdlPvm", "_ZdlPvmSt11align_val_t", "_Znam",
      "_ZnamRKSt9nothrow_t", "_ZnamSt11align_val_t", "_ZnamSt11align_val_tRKSt9nothrow_t", "_Znwm",
      "_ZnwmRKSt9nothrow_t", "_ZnwmSt11align_val_t", "_ZnwmSt11align_val_tRKSt9nothrow_t",
      // contention/
      "pthread_clockjoin_np", "pthread_cond_clockwait", "pthread_cond_timedwait",
      "pthread_cond_wait", "pthread_create", "pthread_join", "pthread_mutex_clocklock",
      "pthread_mutex_lock", "pthread_mutex_timedlock", "pthread_mutex_unlock",
      "pthread_rwlock_clockrdlock", "pthread_rwlock_clockwrlock", "pthread_rwlock_rdlock",
      "pthread_rwlock_timedrdlock", "pthread_rwlock_timedwrlock", "pthread_rwlock_unlock",
      "pthread_rwlock_wrlock", "pthread_timedjoin_np", "sem_clockwait", "sem_timedwait",
      "sem_wait"};
  const Finished listed = run({"nm", "-D", "--defined-only", kAgentLibrary});
  CHECK(last_words(listed.out, " ") == expected);
}

TEST_CASE("P8.2 it needs the C library alone, and stays where it is loaded") {
  const Finished listed = run({"readelf", "-dW", kAgentLibrary});
  CHECK(last_words(listed.out, "(NEEDED)") ==
        std::set<std::string>{"[libc.so.6]", "[libm.so.6]", "[ld-linux-x86-64.so.2]"});
  CHECK(listed.out.find("NODELETE") != std::string::npos);
}

TEST_CASE("P8.2 an armed program has no library of the server's in it") {
  Preloaded program({"wait"});
  const std::string maps =
      finish({"cat", "/proc/" + std::to_string(program.process().pid()) + "/maps"}, {}).out;
  CHECK(maps.find("libdw") != std::string::npos);  // the check would see them
  for (const char* const name :
       {"libssl", "libcrypto", "libnghttp2", "libfmt", "libhttplib", "libwslay"}) {
    INFO(name);
    CHECK(maps.find(name) == std::string::npos);
  }
}
