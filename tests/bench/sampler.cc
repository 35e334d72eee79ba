// What a sample costs the thread that it is taken of, and the collector: run by
// `scripts/bench sampler --only=sample`, one JSON object on stdout. How long threads are held:
// held_threads.h.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/thread_id.h"
#include "sampler/cpu_profiler.h"
#include "sampler/module_table.h"
#include "sampler/signal_channel.h"
#include "sampler/unwinder.h"
#include "tests/bench/held_threads.h"

namespace {

using namespace std::chrono_literals;
using vigil::sampler::CpuProfiler;
using vigil::sampler::Modules;
using vigil::sampler::SignalChannel;
using vigil::sampler::Unwinder;

constexpr int kDepth = 27;  // with the thread's own frames, some 30

std::atomic<bool> stop{false};

// Which of two functions a level calls is in the bits of `path`: 2^27 stacks.
long descend_left(int depth, std::uint64_t path);
long descend_right(int depth, std::uint64_t path);

long burn(std::uint64_t turns) {
  long sum = 0;
  for (std::uint64_t i = 0; i < turns; ++i) {
    sum += static_cast<long>(i);
    asm volatile("" : "+r"(sum));
  }
  return sum;
}

long step(int depth, std::uint64_t path) {
  if (depth == 0) return burn(2'000'000);
  const long below =
      (path & 1) != 0 ? descend_left(depth - 1, path >> 1) : descend_right(depth - 1, path >> 1);
  asm volatile("");  // no tail call
  return below + 1;
}

[[gnu::noinline]] long descend_left(int depth, std::uint64_t path) { return step(depth, path); }
[[gnu::noinline]] long descend_right(int depth, std::uint64_t path) {
  return step(depth, path) + 1;
}

enum class Paths { kOne, kMany };

void work(Paths paths, std::atomic<pid_t>& tid) {
  tid = vigil::current_thread_id();
  std::uint64_t random = 0x9E3779B97F4A7C15u;
  while (!stop) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    descend_left(kDepth, paths == Paths::kOne ? 0 : random >> 32);
  }
}

struct Worker {
  explicit Worker(Paths paths) {
    stop = false;
    thread = std::thread([this, paths] { work(paths, tid); });
    while (tid == 0) std::this_thread::yield();
  }
  ~Worker() {
    stop = true;
    thread.join();
  }
  std::atomic<pid_t> tid{0};
  std::thread thread;
};

struct Collected {
  double cpu_us = 0;  // of the collector
  double samples = 0;
};

// A profile of a second.
Collected collect(CpuProfiler& profiler, SignalChannel& channel, vigil::Clock& clock, int hz) {
  const std::uint64_t before = channel.counters().samples;
  const auto profile =
      profiler.profile({.hz = hz, .deadline = clock.now() + 1s}, std::stop_token());
  if (!profile) return {};
  return {static_cast<double>(profile->counters.at("collector_cpu_ns")) / 1e3,
          static_cast<double>(channel.counters().samples - before)};
}

// The collector's CPU time for a sample, capture to sum, in microseconds. Its rounds, every 10 ms,
// have their cost without samples too, that of a profile at 1 Hz of the same work, and it is the
// larger part: so turn by turn, and the median.
constexpr int kTurns = 5;
struct SampleCost {
  std::vector<double> rounds_us;
  std::vector<double> sample_us;

  static double median(std::vector<double> of) {
    std::nth_element(of.begin(), of.begin() + static_cast<std::ptrdiff_t>(of.size() / 2), of.end());
    return of.empty() ? 0 : of[of.size() / 2];
  }
};
void add_sample_cost(CpuProfiler& profiler, SignalChannel& channel, vigil::Clock& clock,
                     Paths paths, SampleCost& cost) {
  const Worker worker(paths);
  const double rounds_us = collect(profiler, channel, clock, 1).cpu_us;
  const Collected collected = collect(profiler, channel, clock, 1000);
  if (collected.samples == 0) return;
  cost.rounds_us.push_back(rounds_us);
  cost.sample_us.push_back((collected.cpu_us - rounds_us) / collected.samples);
}

void print(const char* name, const vigil::bench::HeldTimes& held) {
  std::printf("\"%s_p50\": %.2f, \"%s_p99\": %.2f, \"%s_p999\": %.2f, \"%s_max\": %.2f, ", name,
              held.p50, name, held.p99, name, held.p999, name, held.most);
}

}  // namespace

int main() {
  vigil::SystemClock clock;
  Modules modules;
  Unwinder unwinder(modules);
  if (!modules.refresh()) return 1;
  auto channel = SignalChannel::install({});
  if (!channel) {
    std::fprintf(stderr, "bench-sampler: %s\n", channel.error().message().c_str());
    return 1;
  }
  const auto running = vigil::bench::hold_running_thread(**channel, clock, 3'000);
  const auto blocked =
      vigil::bench::hold_blocked_threads(**channel, clock, modules, unwinder, 100, 20);
  if (!blocked) {
    std::fprintf(stderr, "bench-sampler: %s\n", blocked.error().message().c_str());
    return 1;
  }
  CpuProfiler profiler(clock, modules, unwinder, **channel);
  SampleCost same;
  SampleCost many;
  for (int turn = 0; turn < kTurns; ++turn) {
    add_sample_cost(profiler, **channel, clock, Paths::kOne, same);
    add_sample_cost(profiler, **channel, clock, Paths::kMany, many);
  }
  if (same.sample_us.empty() || many.sample_us.empty()) return 1;
  std::printf("{\"captures\": %zu, \"stack_bytes\": %zu, ", running.captures, running.stack_bytes);
  print("handler_us", running.handler_us);
  print("held_us", running.held_us);
  print("without_us", running.without_us);
  std::printf("\"blocked_captures\": %zu, \"blocked_us_max\": %.2f, \"blocked_runs\": %llu, ",
              blocked->captures, blocked->held_us_max,
              static_cast<unsigned long long>(blocked->runs));
  const auto new_most = std::max_element(many.sample_us.begin(), many.sample_us.end());
  std::printf(
      "\"collector_share_without_samples\": %.4f, \"collector_us_same_stack\": %.2f, "
      "\"collector_us_new_stacks\": %.2f, \"collector_us_new_stacks_worst_turn\": %.2f}\n",
      SampleCost::median(same.rounds_us) / 1e6, SampleCost::median(same.sample_us),
      SampleCost::median(many.sample_us), *new_most);
}
