// What the interposed lock functions cost, for `scripts/bench sampler`: the C library's own beside
// them, switched off, and on at the default rate, taking turns in one run.
//
// usage: bench-contention [ROUNDS]
//
// Exit status 1 if nothing can be measured, 2 for an argument that is no number.
//
// Prints one JSON object. "bare" is the C library's function through a pointer volatile to the
// optimizer, found with dlsym(RTLD_NEXT) as the hooks find it; the hooks are called the same way, so
// that the difference is theirs alone.

#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "sampler/contention_profiler.h"
#include "sampler/module_table.h"
#include "sampler/unwinder.h"
#include "tests/bench/arguments.h"

namespace {

using namespace std::chrono_literals;
using vigil::sampler::ContentionProfiler;
using LockFunction = int (*)(pthread_mutex_t*);

struct Functions {
  LockFunction lock;
  LockFunction unlock;
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// Nanoseconds for a lock and an unlock of a mutex that nobody else wants.
double uncontended(const Functions& functions) {
  constexpr int kPairs = 2'000'000;
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  LockFunction volatile lock = functions.lock;
  LockFunction volatile unlock = functions.unlock;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kPairs; ++i) {
    lock(&mutex);
    unlock(&mutex);
  }
  return seconds_since(begin) * 1e9 / kPairs;
}

// Some nanoseconds of work that no optimizer removes.
void spin(int turns) {
  for (int i = 0; i < turns; ++i) asm volatile("" ::: "memory");
}

// Times a second that `threads` threads together pass through one mutex, doing about `inside` turns of
// work with it and `outside` without. Both vary at random from nothing to twice as much: threads that
// all take the same time fall into step, and then a nanosecond decides whether one sleeps.
struct Passes {
  double a_second = 0;
  double a_cpu_second = 0;  // says more where other programs share the processors
};

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Passes contended(const Functions& functions, int threads, int inside, int outside) {
  constexpr auto kTime = 100ms;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  std::atomic<bool> stop{false};
  std::atomic<long> passes{0};
  std::vector<std::thread> workers;
  const auto begin = std::chrono::steady_clock::now();
  const double cpu_begin = cpu_seconds();
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      long own = 0;
      std::uint64_t random = 0x9E3779B97F4A7C15u * (static_cast<std::uint64_t>(i) + 1);
      const auto about = [&random](int turns) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        return static_cast<int>((random >> 33) % (2 * static_cast<std::uint64_t>(turns) + 1));
      };
      for (; !stop.load(std::memory_order_relaxed); ++own) {
        functions.lock(&mutex);
        spin(about(inside));
        functions.unlock(&mutex);
        spin(about(outside));
      }
      passes += own;
    });
  }
  std::this_thread::sleep_for(kTime);
  stop = true;
  for (std::thread& worker : workers) worker.join();
  return {static_cast<double>(passes) / seconds_since(begin),
          static_cast<double>(passes) / (cpu_seconds() - cpu_begin)};
}

LockFunction next_function(const char* name) {
  return reinterpret_cast<LockFunction>(dlsym(RTLD_NEXT, name));
}

enum Way { kBare, kOff, kOn, kWays };

using Rounds = std::array<std::vector<double>, kWays>;

// Of another way to the bare one, round by round.
double ratio_of(const Rounds& rounds, Way way) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < rounds[kBare].size(); ++i) {
    ratios.push_back(rounds[way][i] / rounds[kBare][i]);
  }
  return median(std::move(ratios));
}

void print(const char* name, const Rounds& rounds, const Rounds& by_cpu, const char* end) {
  std::printf("\"%s\": {\"bare\": %.3f, \"off\": %.3f, \"on\": %.3f, \"off_ratio\": %.4f, ", name,
              median(rounds[kBare]), median(rounds[kOff]), median(rounds[kOn]),
              ratio_of(rounds, kOff));
  std::printf("\"on_ratio\": %.4f, \"off_cpu_ratio\": %.4f, \"on_cpu_ratio\": %.4f}%s",
              ratio_of(rounds, kOn), ratio_of(by_cpu, kOff), ratio_of(by_cpu, kOn), end);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2) {
    std::fputs("usage: bench-contention [ROUNDS]\n", stderr);
    return 2;
  }
  const auto count =
      argc == 2 ? vigil::bench::number_argument("bench-contention", "ROUNDS", argv[1], 1, 10'000)
                : 11;
  vigil::SystemClock clock;
  vigil::sampler::Modules modules;
  vigil::sampler::Unwinder unwinder(modules);
  if (!modules.refresh()) return 1;
  auto profiler = ContentionProfiler::create({.rate = 0ns}, clock, modules, unwinder);
  if (!profiler) {
    std::fprintf(stderr, "bench-contention: %s\n", profiler.error().message().c_str());
    return 1;
  }
  const vigil::Duration rate = vigil::sampler::ContentionOptions().rate;
  const Functions bare{next_function("pthread_mutex_lock"), next_function("pthread_mutex_unlock")};
  const Functions hooked{pthread_mutex_lock, pthread_mutex_unlock};

  const std::array<std::pair<const char*, std::function<Passes(const Functions&)>>, 4> parts = {{
      {"uncontended_ns",
       [](const Functions& f) {
         const double ns = uncontended(f);
         return Passes{ns, ns};
       }},
      {"two_threads_5us", [](const Functions& f) { return contended(f, 2, 20'000, 20'000); }},
      {"eight_threads_5us", [](const Functions& f) { return contended(f, 8, 20'000, 20'000); }},
      {"eight_threads_100ns", [](const Functions& f) { return contended(f, 8, 400, 400); }},
  }};
  std::printf("{");
  for (std::size_t part = 0; part < parts.size(); ++part) {
    Rounds rounds;
    Rounds by_cpu;
    for (std::int64_t round = 0; round < count; ++round) {
      // Another way goes first each time: what the machine does meanwhile hits all the same.
      for (int i = 0; i < kWays; ++i) {
        const auto way = (round + i) % kWays;
        (void)(*profiler)->set_rate(way == kOn ? rate : 0ns);
        const Passes passes = parts[part].second(way == kBare ? bare : hooked);
        rounds[static_cast<std::size_t>(way)].push_back(passes.a_second);
        by_cpu[static_cast<std::size_t>(way)].push_back(passes.a_cpu_second);
      }
    }
    print(parts[part].first, rounds, by_cpu, part + 1 < parts.size() ? ", " : "}\n");
  }
}
